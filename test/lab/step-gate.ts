// Imported before an agent (NODE_OPTIONS=--import): at the step that is armed in the folder SKEP_TEST_GATE it stands
// still, wherever it is, and says so there, until it is killed or the step is disarmed. So a test kills at one step, and
// not near it. Steps are told by what the agent asks of others: one request after the other, the last of them before
// it is sent or once it was answered; or the opening of a file.
import fs, { existsSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";

export interface Step {
  /** Of one arming: a step is reached once. */
  id: string;
  /** Patterns of `METHOD PATH BODY`, to be seen in this order. */
  requests: string[];
  /** Of the last request: answered, or not sent yet. */
  when: "before" | "after";
  /** Pattern of a file's path; instead of requests. */
  opens?: string;
}

/** Names in the folder. */
export const armedFile = "armed.json";
export const reachedFile = (id: string): string => `reached-${id}`;

const folder = process.env["SKEP_TEST_GATE"];
const mostBodyBytes = 65_536;
const pollMs = 50;

function armed(in_: string): Step | null {
  try {
    return JSON.parse(readFileSync(join(in_, armedFile), "utf8")) as Step;
  } catch {
    // None, or half of one: the next look sees it whole.
    return null;
  }
}

function standStill(in_: string, id: string): void {
  const reached = join(in_, reachedFile(id));
  if (existsSync(reached)) return;
  writeFileSync(reached, String(process.pid));
  const clock = new Int32Array(new SharedArrayBuffer(4));
  while (armed(in_)?.id === id) Atomics.wait(clock, 0, 0, pollMs);
}

/** How many of the requests of the step that is armed were seen. */
const seen = { id: "", count: 0 };

/** Null where nothing, or another step, waits for it. */
function stepFor(in_: string, request: string): { step: Step; isLast: boolean } | null {
  const step = armed(in_);
  if (step === null) return null;
  if (seen.id !== step.id) Object.assign(seen, { id: step.id, count: 0 });
  const pattern = step.requests[seen.count];
  if (pattern === undefined || !new RegExp(pattern, "s").test(request)) return null;
  return { step, isLast: seen.count === step.requests.length - 1 };
}

function watch(in_: string, request: http.ClientRequest): http.ClientRequest {
  let body = "";
  const told = (): string => `${request.method} ${request.path} ${body}`;
  const add = (chunk: unknown): void => {
    if (typeof chunk !== "string" && !(chunk instanceof Uint8Array)) return;
    if (body.length < mostBodyBytes) body += Buffer.from(chunk as string).toString("latin1", 0, mostBodyBytes);
  };
  const write = request.write.bind(request);
  const end = request.end.bind(request) as (...all: unknown[]) => http.ClientRequest;
  request.write = ((...given: Parameters<typeof write>) => {
    add(given[0]);
    return write(...given);
  }) as typeof write;
  request.end = ((...given: unknown[]) => {
    add(given[0]);
    const found = stepFor(in_, told());
    if (found?.isLast === true && found.step.when === "before") standStill(in_, found.step.id);
    return end(...given);
  }) as typeof request.end;
  const answered = (): void => {
    const found = stepFor(in_, told());
    if (found === null || (found.isLast && found.step.when === "before")) return;
    seen.count++;
    if (found.isLast) standStill(in_, found.step.id);
  };
  request.prependOnceListener("response", answered);
  request.prependOnceListener("upgrade", answered);
  return request;
}

if (folder !== undefined) {
  for (const protocol of [http, https]) {
    const { request } = protocol;
    protocol.request = ((...given: Parameters<typeof request>) =>
      watch(folder, request.apply(protocol, given))) as typeof request;
  }
  const { openSync } = fs;
  fs.openSync = (path, ...more) => {
    const step = armed(folder);
    if (step?.opens !== undefined && new RegExp(step.opens).test(String(path))) standStill(folder, step.id);
    return openSync(path, ...more);
  };
  syncBuiltinESMExports();
}
