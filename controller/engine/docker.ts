// The one door of the operator's side to a Docker engine. Its errors leave as SkepErrors. Each call has a connection of
// its own, so that an engine which restarted is simply asked again.
import type { Agent } from "node:http";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import Dockerode from "dockerode";
import { z } from "zod";
import { SkepError, type ErrorCode } from "../../shared/errors.ts";
import { readLoadAnswer } from "../../shared/image-load.ts";
import type { Json } from "../../shared/raft/engine-api/values.ts";
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

interface Call {
  method: "GET" | "POST" | "DELETE";
  path: string;
  query?: Record<string, unknown>;
  body?: Json;
  registryAuth?: string | null;
  signal?: AbortSignal | undefined;
}

interface Modem {
  dial(options: object, done: (error: unknown, answer: unknown) => void): void;
}

/** An engine that doesn't answer within it hangs. 2 min: a swarm of 1,000 services is listed in seconds. */
const callTimeoutMs = 120_000;

export function nameOfAddress(address: EngineAddress): string {
  if (address.kind === "socket") return `unix://${address.path}`;
  if (address.kind === "agent") return address.name;
  const { host, port } = address;
  return `tcp://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function dial(address: EngineAddress): Dockerode {
  // All fields: dockerode would fill those that are left out from DOCKER_HOST and DOCKER_CERT_PATH.
  const none = {
    host: undefined,
    port: undefined,
    socketPath: undefined,
    ca: undefined,
    cert: undefined,
    key: undefined,
  };
  const client = (options: object): Dockerode => new Dockerode({ ...none, ...options });
  if (address.kind === "socket") return client({ protocol: "http", socketPath: address.path });
  // The host is never looked up: the agent knows the way.
  if (address.kind === "agent") return client({ protocol: "http", host: "engine", port: 80, agent: address.agent });
  const { host, port, tls } = address;
  return client({ protocol: tls === undefined ? "http" : "https", host, port, ...tls });
}

export function connectEngine(address: EngineAddress): Engine {
  const name = nameOfAddress(address);
  const modem = dial(address).modem as Modem;

  async function call<T>(schema: z.ZodType<T>, request: Call): Promise<T> {
    const { method, path, query, body, registryAuth, signal } = request;
    signal?.throwIfAborted();
    const timeout = AbortSignal.timeout(callTimeoutMs);
    const answer = await new Promise<unknown>((resolve, reject) => {
      const options = {
        path: `${path}?`,
        method,
        options: { _query: query ?? {}, _body: body ?? {} },
        abortSignal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
        statusCodes: { 200: true, 201: true, 202: true, 204: true, 304: true },
        ...(registryAuth == null ? {} : { authconfig: { key: registryAuth } }),
      };
      modem.dial(options, (error, json) => {
        if (error === null || error === undefined) resolve(json);
        else if (signal?.aborted) reject(signal.reason as Error);
        else reject(toEngineError(error, `${method} ${path}`, name));
      });
    });
    const parsed = schema.safeParse(answer);
    if (parsed.success) return parsed.data;
    throw new SkepError({
      code: "SKEP_ENGINE_ANSWER_INVALID",
      message: `the engine at ${name} answered ${method} ${path} in another shape: ${z.prettifyError(parsed.error)}`,
      permanent: true,
      hint: "is it older than Docker 20.10, or not Docker?",
    });
  }

  const get = <T>(schema: z.ZodType<T>, path: string, signal?: AbortSignal, query?: Json): Promise<T> =>
    call(schema, { method: "GET", path, signal, ...(query === undefined ? {} : { query }) });
  async function load(content: Readable, signal: AbortSignal): Promise<string[]> {
    // What the engine reads may fail at its source: then the request ends with it.
    const stop = new AbortController();
    content.once("error", (error) => {
      stop.abort(error);
    });
    const path = "/images/load";
    const abortSignal = AbortSignal.any([signal, stop.signal]);
    const headers = { "Content-Type": "application/x-tar" };
    const options = { path, method: "POST", isStream: true, headers, file: content, abortSignal };
    try {
      const answer = await new Promise<Readable>((resolve, reject) => {
        modem.dial({ ...options, statusCodes: { 200: true } }, (error, stream) => {
          if (error === null || error === undefined) resolve(stream as Readable);
          else reject(toEngineError(error, `POST ${path}`, name));
        });
      });
      const said = await readLoadAnswer(createInterface({ input: answer }));
      if ("names" in said) return said.names;
      throw notLoaded(name, said.why);
    } catch (error) {
      signal.throwIfAborted();
      const first: unknown = content.errored ?? error;
      throw first instanceof SkepError ? first : notLoaded(name, String(first), first);
    }
  }

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
    loadImage: load,
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
