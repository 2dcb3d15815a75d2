// The one door to the Docker engine. Everything that Skep asks of it is here, typed and checked; its errors
// leave as SkepErrors. One connection is made for each call: an engine that restarted is simply asked again.
import { createInterface } from "node:readline";
import { PassThrough, type Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import Dockerode from "dockerode";
import { z } from "zod";
import type { ContainerExec, Docker, Filters, HelperContainer } from "./docker-calls.ts";
import { ExecOutput, feed } from "./docker-exec.ts";
import { imageCalls } from "./docker-images.ts";
import { engineRequests, type EngineModem } from "../shared/engine-requests.ts";
import { SkepError, type ErrorCode } from "../shared/errors.ts";
import {
  containerSchema,
  inspectedContainerSchema,
  engineEventSchema,
  infoSchema,
  namedObjectSchema,
  networkSchema,
  nodeSchema,
  pluginSchema,
  serviceSchema,
  taskSchema,
  volumeSchema,
  type EngineEvent,
} from "./docker-objects.ts";

export type { ContainerExec, Docker, Filters, HelperContainer } from "./docker-calls.ts";

/** Containers that Skep starts for a moment carry it, with the job's id: they are reaped when an agent starts. */
export const helperLabel = "io.skep.helper";

interface Modem extends EngineModem {
  demuxStream(stream: NodeJS.ReadableStream, out: NodeJS.WritableStream, err: NodeJS.WritableStream): void;
}

/** An engine that doesn't answer within it hangs: a call never streams. 5 min: pulling the state of 10,000 tasks. */
const callTimeoutMs = 300_000;
const stderrBytes = 8192;

export function connectDocker(socketPath: string): Docker {
  const dockerode = new Dockerode({ socketPath });
  const modem = dockerode.modem as Modem;

  const { call, get, stream } = engineRequests(modem, callTimeoutMs, {
    refused: (thrown, doing) => toDockerError(thrown, doing, socketPath),
    invalid: (doing, problem) =>
      new SkepError({
        code: "SKEP_DOCKER_ANSWER_INVALID",
        message: `docker answered ${doing} in another shape: ${problem}`,
        permanent: true,
        hint: "is this engine older than 20.10, or not Docker?",
      }),
  });
  const ignored = z.unknown();
  const at = encodeURIComponent;

  async function runHelper(helper: HelperContainer): Promise<{ exitCode: number; stderr: string }> {
    const { Id: id } = await call(z.looseObject({ Id: z.string() }), {
      method: "POST",
      path: "/containers/create",
      signal: helper.signal,
      body: {
        Image: helper.image,
        Entrypoint: helper.command,
        Cmd: [],
        Labels: { [helperLabel]: helper.label },
        OpenStdin: true,
        StdinOnce: true,
        AttachStdin: true,
        AttachStdout: true,
        AttachStderr: true,
        Tty: false,
        Healthcheck: { Test: ["NONE"] },
        HostConfig: {
          NetworkMode: `container:${helper.like}`,
          VolumesFrom: [helper.like],
          Mounts: [
            {
              Type: "volume",
              Source: helper.volume.name,
              Target: helper.volume.target,
              ReadOnly: helper.volume.readOnly,
              VolumeOptions: { NoCopy: true },
            },
          ],
          RestartPolicy: { Name: "no" },
        },
      },
    });
    try {
      const stream = await dockerode
        .getContainer(id)
        .attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true })
        .catch((error: unknown) => {
          throw toDockerError(error, `attach to ${id}`, socketPath);
        });
      const stdout = new PassThrough();
      const stderr = new PassThrough();
      let tail = Buffer.alloc(0);
      stdout.on("data", helper.onStdout);
      stderr.on("data", (bytes: Buffer) => {
        tail = Buffer.concat([tail, bytes]).subarray(-stderrBytes);
      });
      modem.demuxStream(stream, stdout, stderr);
      const ended = new Promise<void>((resolve, reject) => {
        stream.once("end", resolve);
        stream.once("close", resolve);
        stream.once("error", reject);
      });
      await call(ignored, { method: "POST", path: `/containers/${id}/start`, signal: helper.signal });
      stream.end(helper.stdin);
      const abort = (): void => {
        (stream as unknown as { destroy(): void }).destroy();
      };
      helper.signal.addEventListener("abort", abort, { once: true });
      try {
        await ended;
        helper.signal.throwIfAborted();
      } finally {
        helper.signal.removeEventListener("abort", abort);
      }
      const { StatusCode } = await call(z.looseObject({ StatusCode: z.int() }), {
        method: "POST",
        path: `/containers/${id}/wait`,
        signal: helper.signal,
      });
      return { exitCode: StatusCode, stderr: tail.toString("utf8") };
    } finally {
      await removeContainer(id);
    }
  }

  async function removeContainer(id: string, signal?: AbortSignal): Promise<void> {
    await nullWhereMissing(
      call(ignored, { method: "DELETE", path: `/containers/${at(id)}`, query: { force: true }, signal }),
    );
  }

  async function exec(wanted: ContainerExec): Promise<{ exitCode: number }> {
    const { container, argv, user, stdin, signal } = wanted;
    const doing = `exec in ${container}`;
    const { Id } = await call(z.looseObject({ Id: z.string() }), {
      method: "POST",
      path: `/containers/${at(container)}/exec`,
      signal,
      body: {
        AttachStdin: stdin !== null,
        AttachStdout: true,
        AttachStderr: true,
        Tty: false,
        Cmd: argv,
        ...(user === null ? {} : { User: user }),
      },
    });
    const stream: Duplex = await dockerode
      .getExec(Id)
      .start({ hijack: true, stdin: stdin !== null, Tty: false, abortSignal: signal })
      .catch((error: unknown) => {
        signal.throwIfAborted();
        throw toDockerError(error, doing, socketPath);
      });
    const abort = (): void => {
      stream.destroy();
    };
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    try {
      const output = new ExecOutput(stream, (out, err) => {
        modem.demuxStream(stream, out, err);
      });
      output.stderr.on("data", wanted.onStderr);
      const source: { fault: unknown } = { fault: null };
      const feeding =
        stdin === null
          ? null
          : feed(stream, stdin).catch((error: unknown) => {
              source.fault = error;
              stream.destroy();
            });
      for await (const piece of output.stdout as AsyncIterable<Buffer>) await wanted.onStdout(piece);
      signal.throwIfAborted();
      // A program that is fed and takes not all breaks the connection too: its exit code tells.
      if (stdin === null) output.throwIfBroken(doing);
      stream.destroy();
      await feeding;
      if (source.fault !== null) throw source.fault as Error;
      return await endOfExec(Id, signal);
    } finally {
      signal.removeEventListener("abort", abort);
      stream.destroy();
    }
  }

  /** The end of the stream is no end of the program: the engine is asked until it has one. */
  async function endOfExec(id: string, signal: AbortSignal): Promise<{ exitCode: number }> {
    const inspected = z.looseObject({ Running: z.boolean(), ExitCode: z.int().nullable() });
    for (let tries = 0; ; tries++) {
      const { Running, ExitCode } = await get(inspected, `/exec/${at(id)}/json`, signal);
      if (!Running && ExitCode !== null) return { exitCode: ExitCode };
      await sleep(Math.min(500, 20 * (tries + 1)), undefined, { signal });
    }
  }

  async function watch(
    filters: Filters,
    onEvent: (event: EngineEvent) => void,
    signal: AbortSignal,
  ): Promise<{ ended: Promise<void>; hasEnded: () => boolean }> {
    signal.throwIfAborted();
    const stream = await dockerode
      .getEvents({ filters: JSON.stringify(filters), abortSignal: signal } as Dockerode.GetEventsOptions)
      .catch((error: unknown) => {
        throw toDockerError(error, "GET /events", socketPath);
      });
    let over = false;
    const ended = (async (): Promise<void> => {
      try {
        for await (const line of createInterface({ input: stream })) {
          const event = engineEventSchema.safeParse(JSON.parse(line));
          if (event.success) onEvent(event.data);
        }
      } finally {
        over = true;
      }
    })().catch(() => undefined);
    return { ended, hasEnded: () => over };
  }

  return {
    info: (signal) => get(infoSchema, "/info", signal),
    swarm: (signal) => get(z.record(z.string(), z.unknown()), "/swarm", signal),
    nodes: (signal) => get(z.array(nodeSchema), "/nodes", signal),
    node: (id, signal) => get(nodeSchema, `/nodes/${at(id)}`, signal),
    updateNode: async (id, version, spec, signal) => {
      await call(ignored, { method: "POST", path: `/nodes/${at(id)}/update`, query: { version }, body: spec, signal });
    },
    services: (signal) => get(z.array(serviceSchema), "/services", signal),
    service: (id, signal) => nullWhereMissing(get(serviceSchema, `/services/${at(id)}`, signal)),
    updateService: async (id, version, spec, signal) => {
      const path = `/services/${at(id)}/update`;
      await call(ignored, { method: "POST", path, query: { version }, body: spec, signal });
    },
    rollbackService: async (id, version, spec, signal) => {
      const path = `/services/${at(id)}/update`;
      await call(ignored, { method: "POST", path, query: { version, rollback: "previous" }, body: spec, signal });
    },
    tasks: (filters, signal) => get(z.array(taskSchema), "/tasks", signal, { filters }),
    configs: (filters, signal) => get(z.array(namedObjectSchema), "/configs", signal, { filters }),
    createConfig: async ({ name, labels, data }, signal) => {
      const body = { Name: name, Labels: labels, Data: Buffer.from(data).toString("base64") };
      const created = z.looseObject({ ID: z.string() });
      return (await call(created, { method: "POST", path: "/configs/create", body, signal })).ID;
    },
    relabelConfig: async ({ ID, Version, Spec }, labels, signal) => {
      const path = `/configs/${at(ID)}/update`;
      const body = { ...Spec, Labels: labels };
      await nullWhereMissing(call(ignored, { method: "POST", path, query: { version: Version.Index }, body, signal }));
    },
    removeConfig: async (id, signal) => {
      await nullWhereMissing(call(ignored, { method: "DELETE", path: `/configs/${at(id)}`, signal }));
    },
    secrets: (signal) => get(z.array(namedObjectSchema), "/secrets", signal),
    networks: (signal) => get(z.array(networkSchema), "/networks", signal),
    volumes: async (signal) =>
      (await get(z.looseObject({ Volumes: z.array(volumeSchema).nullish() }), "/volumes", signal)).Volumes ?? [],
    volume: (name, signal) => nullWhereMissing(get(volumeSchema, `/volumes/${at(name)}`, signal)),
    createVolume: ({ name, driver, options, labels }, signal) => {
      const body = { Name: name, Driver: driver, DriverOpts: options, Labels: labels };
      return call(volumeSchema, { method: "POST", path: "/volumes/create", body, signal });
    },
    removeVolume: async (name, signal) => {
      await nullWhereMissing(call(ignored, { method: "DELETE", path: `/volumes/${at(name)}`, signal }));
    },
    containers: (filters, signal) => get(z.array(containerSchema), "/containers/json", signal, { all: true, filters }),
    container: (id, signal) => nullWhereMissing(get(inspectedContainerSchema, `/containers/${at(id)}/json`, signal)),
    stopContainer: async (id, waitMs, signal) => {
      const path = `/containers/${at(id)}/stop`;
      await nullWhereMissing(call(ignored, { method: "POST", path, timeoutMs: waitMs, signal }));
    },
    startContainer: async (id) => {
      // Answers before anything of it runs, but for a volume's driver that hangs.
      await nullWhereMissing(call(ignored, { method: "POST", path: `/containers/${at(id)}/start` }));
    },
    imageOf: async (id, signal) => {
      const inspected = z.looseObject({ Image: z.string() });
      return (await nullWhereMissing(get(inspected, `/containers/${at(id)}/json`, signal)))?.Image ?? null;
    },
    removeContainer,
    pauseContainer: async (id) => {
      await call(ignored, { method: "POST", path: `/containers/${at(id)}/pause` });
    },
    unpauseContainer: async (id) => {
      try {
        await nullWhereMissing(call(ignored, { method: "POST", path: `/containers/${at(id)}/unpause` }));
      } catch (error) {
        if (!/is not paused|is not running/.test((error as Error).message)) throw error;
      }
    },
    exec,
    watch,
    unlockKey: async (signal) =>
      (await call(z.object({ UnlockKey: z.string() }), { method: "GET", path: "/swarm/unlockkey", signal })).UnlockKey,
    plugins: async (signal) => (await get(z.array(pluginSchema).nullable(), "/plugins", signal)) ?? [],
    runHelper,
    ...imageCalls({ get, stream, nullWhereMissing }),
  };
}

async function nullWhereMissing<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_DOCKER_NOT_FOUND") return null;
    throw error;
  }
}

/** What docker-modem threw, as a SkepError; `doing` names the call. Exported for its test. */
export function toDockerError(thrown: unknown, doing: string, socketPath: string): SkepError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { statusCode, code } = error as Error & { statusCode?: number; code?: string };
  const make = (errorCode: ErrorCode, message: string, permanent: boolean, hint?: string): SkepError =>
    new SkepError({ code: errorCode, message, permanent, cause: error, ...(hint === undefined ? {} : { hint }) });
  if (statusCode === undefined) {
    return make(
      "SKEP_DOCKER_UNREACHABLE",
      `docker at ${socketPath} does not answer ${doing}: ${code ?? error.message}`,
      false,
      "is the engine running, and may Skep open its socket (SKEP_DOCKER_SOCKET)?",
    );
  }
  const message = `docker refused ${doing}: ${error.message.replace(/^\(HTTP code \d+\)\s*/, "").trim()}`;
  if (statusCode === 503 && /not a swarm manager|not part of a swarm/i.test(error.message)) {
    const hint = "this can only be done on a manager; one whose disk is full is none until there is room";
    return make("SKEP_DOCKER_NOT_MANAGER", message, true, hint);
  }
  // swarmkit's raft node stops where it can't write: what waits for it is answered the first, what comes next the second.
  if (/desc = (context canceled|transport is closing)$/.test(message)) {
    const hint =
      "is its disk full, or the leader's (`df`, `journalctl -u docker`), or was one just demoted? Whether it was done is not known";
    return make("SKEP_DOCKER_MANAGER_STOPPED", `the manager ended meanwhile: ${message}`, false, hint);
  }
  if (statusCode === 404) return make("SKEP_DOCKER_NOT_FOUND", message, true);
  if (statusCode === 409 || /update out of sequence/.test(error.message)) {
    return make("SKEP_DOCKER_CONFLICT", message, false);
  }
  return make("SKEP_DOCKER_FAILED", message, statusCode === 400);
}
