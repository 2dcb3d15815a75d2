// The one door of the operator's side to a Docker engine. Its errors leave as SkepErrors. Each call has a connection of
// its own, so that an engine which restarted is simply asked again; but for those that an agent makes (stream-agent.ts).
import type { Agent } from "node:http";
import type Dockerode from "dockerode";
import { z } from "zod";
import { engineRequests } from "../../shared/engine-requests.ts";
import { SkepError, type ErrorCode } from "../../shared/errors.ts";
import { loadImage } from "../../shared/image-load.ts";
import {
  imageSchema,
  infoSchema,
  networkSchema,
  nodeSchema,
  objectSchema,
  swarmSchema,
  taskSchema,
  type Engine,
  type EngineObject,
} from "./engine.ts";

/** Where an engine listens. `agent` makes the connections itself, for example through an SSH session. */
export type EngineAddress =
  | { kind: "socket"; path: string }
  | { kind: "tcp"; host: string; port: number; tls?: { ca: string; cert: string; key: string } }
  | { kind: "agent"; agent: Agent; name: string };

/** An engine that doesn't answer within it hangs. 2 min: a swarm of 1,000 services is listed in seconds. */
const callTimeoutMs = 120_000;

export function nameOfAddress(address: EngineAddress): string {
  if (address.kind === "socket") return `unix://${address.path}`;
  if (address.kind === "agent") return address.name;
  const { host, port } = address;
  return `tcp://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

async function dial(address: EngineAddress): Promise<Dockerode> {
  // Only here, so that commands that could ask an engine and don't start in half the time.
  const { default: Client } = await import("dockerode");
  // All fields: dockerode would fill those that are left out from DOCKER_HOST and DOCKER_CERT_PATH.
  const none = {
    host: undefined,
    port: undefined,
    socketPath: undefined,
    ca: undefined,
    cert: undefined,
    key: undefined,
  };
  const client = (options: object): Dockerode => new Client({ ...none, ...options });
  if (address.kind === "socket") return client({ protocol: "http", socketPath: address.path });
  // The host is never looked up: the agent knows the way.
  if (address.kind === "agent") return client({ protocol: "http", host: "engine", port: 80, agent: address.agent });
  const { host, port, tls } = address;
  return client({ protocol: tls === undefined ? "http" : "https", host, port, ...tls });
}

export async function connectEngine(address: EngineAddress): Promise<Engine> {
  const name = nameOfAddress(address);
  const { modem } = await dial(address);
  const { call, get, stream } = engineRequests(modem, callTimeoutMs, {
    refused: (thrown, doing) => toEngineError(thrown, doing, name),
    invalid: (doing, problem) =>
      new SkepError({
        code: "SKEP_ENGINE_ANSWER_INVALID",
        message: `the engine at ${name} answered ${doing} in another shape: ${problem}`,
        permanent: true,
        hint: "is it older than Docker 20.10, or not Docker?",
      }),
  });
  const ignored = z.unknown();
  const at = encodeURIComponent;
  const identified = z.looseObject({ ID: z.string().optional(), Id: z.string().optional() });

  return {
    address: name,
    info: (signal) => get(infoSchema, "/info", signal),
    swarm: (signal) => get(swarmSchema, "/swarm", signal),
    initSwarm: (body, signal) => call(z.string(), { method: "POST", path: "/swarm/init", body, signal }),
    updateSwarm: async (version, spec, signal) => {
      await call(ignored, { method: "POST", path: "/swarm/update", query: { version }, body: spec, signal });
    },
    nodes: (signal) => get(z.array(nodeSchema), "/nodes", signal),
    updateNode: async (id, version, spec, signal) => {
      await call(ignored, { method: "POST", path: `/nodes/${at(id)}/update`, query: { version }, body: spec, signal });
    },
    list: async (kind, signal) => {
      if (kind !== "network") return (await get(z.array(objectSchema), `/${kind}s`, signal)).map(toObject);
      const networks = await get(z.array(networkSchema), "/networks", signal, { filters: { scope: ["swarm"] } });
      return networks.map(toNetwork);
    },
    find: (kind, idOrName, signal) => {
      const path = `/${kind}s/${at(idOrName)}`;
      if (kind !== "network") return nullWhereMissing(get(objectSchema, path, signal).then(toObject));
      return nullWhereMissing(get(networkSchema, path, signal, { scope: "swarm" }).then(toNetwork));
    },
    create: async (kind, body, registryAuth, signal) => {
      const made = await call(identified, { method: "POST", path: `/${kind}s/create`, body, registryAuth, signal });
      return made.ID ?? made.Id ?? "";
    },
    update: async (kind, { id, version }, spec, registryAuth, signal) => {
      const path = `/${kind}s/${at(id)}/update`;
      await call(ignored, { method: "POST", path, query: { version }, body: spec, registryAuth, signal });
    },
    remove: async (kind, id, signal) => {
      await call(ignored, { method: "DELETE", path: `/${kind}s/${at(id)}`, signal });
    },
    tasks: (serviceIds, signal) =>
      get(z.array(taskSchema).nullable(), "/tasks", signal, { filters: { service: serviceIds } }).then(
        (tasks) => tasks ?? [],
      ),
    image: (idOrName, signal) => nullWhereMissing(get(imageSchema, `/images/${at(idOrName)}/json`, signal)),
    loadImage: (content, signal) =>
      loadImage(stream, content, { notLoaded: (why, cause) => notLoaded(name, why, cause), signal }),
    tagImage: async (id, { repository: repo, tag }, signal) => {
      await call(ignored, { method: "POST", path: `/images/${at(id)}/tag`, query: { repo, tag }, signal });
    },
  };
}

function toObject(object: z.infer<typeof objectSchema>): EngineObject {
  const { ID: id, Spec: spec, Version, PreviousSpec } = object;
  return { id, name: spec.Name ?? "", version: Version.Index, spec, previousSpec: PreviousSpec ?? null };
}

function toNetwork(network: z.infer<typeof networkSchema>): EngineObject {
  return { id: network.Id, name: network.Name, version: 0, spec: network, previousSpec: null };
}

async function nullWhereMissing<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_ENGINE_NOT_FOUND") return null;
    throw error;
  }
}

function notLoaded(address: string, why: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_ENGINE_REFUSED",
    message: `the engine at ${address} did not load the image: ${why}`,
    permanent: false,
    hint: "is there room in the engine's data folder?",
    cause,
  });
}

/** What docker-modem threw, as a SkepError; `doing` names the call. Exported for its test. */
export function toEngineError(thrown: unknown, doing: string, address: string): SkepError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { statusCode, code } = error as Error & { statusCode?: number; code?: string };
  const make = (errorCode: ErrorCode, message: string, permanent: boolean, hint?: string): SkepError =>
    new SkepError({ code: errorCode, message, permanent, cause: error, ...(hint === undefined ? {} : { hint }) });
  if (statusCode === undefined) {
    return make(
      "SKEP_ENGINE_UNREACHABLE",
      `the engine at ${address} does not answer ${doing}: ${code ?? error.message}`,
      false,
      "name the socket of a manager with --docker or DOCKER_HOST; is its engine running, and may you open it?",
    );
  }
  const message = `the engine at ${address} refused ${doing}: ${error.message.replace(/^\(HTTP code \d+\)\s*/, "").trim()}`;
  if (statusCode === 503 && /not a swarm manager|not part of a swarm/i.test(error.message)) {
    return make("SKEP_ENGINE_NOT_MANAGER", message, true, "name a manager of the swarm with --docker");
  }
  if (statusCode === 404) return make("SKEP_ENGINE_NOT_FOUND", message, true);
  if (statusCode === 409 || /update out of sequence|already exists/.test(error.message)) {
    return make("SKEP_ENGINE_CONFLICT", message, false, "somebody else is at work there: do it again");
  }
  return make("SKEP_ENGINE_REFUSED", message, statusCode < 500);
}
