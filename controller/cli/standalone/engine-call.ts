// One request to the Docker engine of this machine, over its socket.
import { SkepError, type ErrorCode } from "../../../shared/errors.ts";
import { request } from "../../../shared/node-http.ts";

export interface EngineCall {
  method?: "GET" | "POST";
  path: string;
  body?: unknown;
  /** Default 30 s. */
  timeoutMs?: number;
}

/** A swarm of thousands of services and tasks. */
const maxAnswerBytes = 256 * 1024 * 1024;
const defaultTimeoutMs = 30_000;

/**
 * The answer's JSON, null for none. Throws SKEP_DOCKER_UNREACHABLE, and for a refusal SKEP_DOCKER_CONFLICT,
 * SKEP_DOCKER_NOT_MANAGER or SKEP_DOCKER_FAILED with what the engine said.
 */
export async function callEngine(socketPath: string, call: EngineCall, signal: AbortSignal): Promise<unknown> {
  const doing = `${call.method ?? "GET"} ${call.path}`;
  let answer: { status: number; text: string };
  try {
    answer = await send(socketPath, call, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw engineUnreachable(socketPath, error instanceof Error ? error.message : String(error), error);
  }
  const { status, text } = answer;
  const json = parseJson(text);
  if (status >= 400) throw refusal(doing, status, json === undefined ? text : messageOf(json));
  if (json === undefined) throw engineUnreachable(socketPath, `it answered ${doing} with something that is no JSON`);
  return json;
}

export function engineUnreachable(socketPath: string, why: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_DOCKER_UNREACHABLE",
    message: `the Docker engine at ${socketPath} does not answer: ${why}`,
    permanent: false,
    hint: "is Docker running, and may you use its socket? another one is named with --docker-socket",
    cause,
  });
}

function refusal(doing: string, status: number, said: string): SkepError {
  let code: ErrorCode = "SKEP_DOCKER_FAILED";
  if (status === 409 || said.includes("update out of sequence")) code = "SKEP_DOCKER_CONFLICT";
  else if (status === 503 && /not a swarm manager|not part of a swarm/i.test(said)) code = "SKEP_DOCKER_NOT_MANAGER";
  return new SkepError({
    code,
    message: `docker refused ${doing}: ${said.trim()}`,
    permanent: status < 500 && status !== 409,
  });
}

function messageOf(json: unknown): string {
  const { message } = (json ?? {}) as { message?: unknown };
  return typeof message === "string" ? message : JSON.stringify(json);
}

/** Undefined for what is no JSON. */
function parseJson(text: string): unknown {
  if (text === "") return null;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

async function send(
  socketPath: string,
  { method = "GET", path, body, timeoutMs = defaultTimeoutMs }: EngineCall,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  return await new Promise((resolve, reject) => {
    const ended = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const options = { socketPath, method, path, host: "localhost", agent: false, signal: ended, headers };
    const asked = request(options, (response) => {
      const pieces: Buffer[] = [];
      let sizeBytes = 0;
      response.on("data", (piece: Buffer) => {
        pieces.push(piece);
        sizeBytes += piece.length;
        if (sizeBytes > maxAnswerBytes) asked.destroy(new Error(`the answer is larger than ${maxAnswerBytes} bytes`));
      });
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString("utf8") });
      });
      response.on("error", reject);
    });
    asked.on("error", reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
