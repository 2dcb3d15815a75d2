// How a request goes to a Docker engine and its answer comes back typed: the agent's door and the operator's speak alike.
import type { Readable } from "node:stream";
import type { z } from "zod";
import type { SkepError } from "./errors.ts";
import { shapeFaults } from "./fault-list.ts";

/** What dockerode sends with. */
export interface EngineModem {
  dial(options: object, done: (error: unknown, answer: unknown) => void): void;
}

export interface EngineRequest {
  method: "GET" | "POST" | "DELETE";
  path: string;
  query?: Record<string, unknown>;
  body?: object;
  /** The X-Registry-Auth header. */
  registryAuth?: string | null;
  /** Default: that of the door. */
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
}

export interface StreamRequest {
  method: "GET" | "POST";
  path: string;
  /** A tar that the engine reads. */
  content?: Readable;
  signal: AbortSignal;
}

/** How a door names what went wrong. `doing`: the method and the path. */
export interface EngineFaults {
  refused: (thrown: unknown, doing: string) => SkepError;
  invalid: (doing: string, problem: string) => SkepError;
}

export interface EngineRequests {
  /** One call whose whole answer is of the schema. Throws the signal's reason, and what the door's faults give. */
  call: <T>(schema: z.ZodType<T>, request: EngineRequest) => Promise<T>;
  get: <T>(schema: z.ZodType<T>, path: string, signal?: AbortSignal, query?: Record<string, unknown>) => Promise<T>;
  /** The answer as it comes; without a deadline. A failure of what the engine reads ends the request. */
  stream: (request: StreamRequest) => Promise<Readable>;
}

export function engineRequests(modem: EngineModem, callTimeoutMs: number, faults: EngineFaults): EngineRequests {
  const dial = async (options: object, doing: string, stop: AbortSignal | undefined): Promise<unknown> =>
    await new Promise((resolve, reject) => {
      modem.dial(options, (error, answer) => {
        if (error === null || error === undefined) resolve(answer);
        else if (stop?.aborted) reject(stop.reason as Error);
        else reject(faults.refused(error, doing));
      });
    });

  async function call<T>(schema: z.ZodType<T>, request: EngineRequest): Promise<T> {
    const { method, path, query, body, registryAuth, timeoutMs, signal } = request;
    signal?.throwIfAborted();
    const timeout = AbortSignal.timeout(timeoutMs ?? callTimeoutMs);
    const options = {
      path: `${path}?`,
      method,
      options: { _query: query ?? {}, _body: body ?? {} },
      abortSignal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      statusCodes: { 200: true, 201: true, 202: true, 204: true, 304: true },
      ...(registryAuth == null ? {} : { authconfig: { key: registryAuth } }),
    };
    const doing = `${method} ${path}`;
    const parsed = schema.safeParse(await dial(options, doing, signal));
    if (parsed.success) return parsed.data;
    throw faults.invalid(doing, shapeFaults(parsed.error));
  }

  async function stream({ method, path, content, signal }: StreamRequest): Promise<Readable> {
    signal.throwIfAborted();
    const stop = new AbortController();
    content?.once("error", (error) => {
      stop.abort(error);
    });
    const abortSignal = AbortSignal.any([signal, stop.signal]);
    const sent = content === undefined ? {} : { headers: { "Content-Type": "application/x-tar" }, file: content };
    const options = { path, method, isStream: true, abortSignal, statusCodes: { 200: true }, ...sent };
    return (await dial(options, `${method} ${path}`, abortSignal)) as Readable;
  }

  return {
    call,
    get: (schema, path, signal, query) => call(schema, { method: "GET", path, signal, ...(query && { query }) }),
    stream,
  };
}
