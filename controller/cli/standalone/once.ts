// Does one job in a process of its own, agent/once.ts: the job and its secrets on standard input, progress and the
// result as lines on standard output. The CLI never imports the agent.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { JobProgress, TaskKind, TaskResultOf } from "../../../shared/contract/job.ts";
import { onceLineSchema, type OnceInput } from "../../../shared/contract/once.ts";
import { SkepError, toErrorRecord, type ErrorRecord } from "../../../shared/errors.ts";

const program = fileURLToPath(new URL("../../../agent/once.ts", import.meta.url));
/** What is kept of its stderr, for the error's text. */
const maxStderrBytes = 4096;
/** After SIGTERM it has so long to take back what it began. */
const endGraceMs = 30_000;

export interface OnceOptions {
  signal: AbortSignal;
  onProgress: (progress: JobProgress) => void;
  /** For tests. */
  programPath?: string;
}

/** The result of the input's job, whose task is of this kind. Throws the job's own error, or SKEP_ONCE_FAILED where the process ended without a word. */
export async function doOnce<K extends TaskKind>(
  kind: K,
  input: OnceInput,
  options: OnceOptions,
): Promise<TaskResultOf<K>> {
  const { signal, onProgress, programPath = program } = options;
  signal.throwIfAborted();
  const child = spawn(process.execPath, [programPath], { stdio: ["pipe", "pipe", "pipe"], detached: true });
  const stop = (): void => {
    child.kill("SIGTERM");
    setTimeout(() => child.kill("SIGKILL"), endGraceMs).unref();
  };
  signal.addEventListener("abort", stop, { once: true });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-maxStderrBytes);
  });
  // A process that ends before it read everything closes the pipe; its exit says why.
  child.stdin.on("error", () => undefined);
  child.stdin.end(JSON.stringify(input));
  let outcome: { result: unknown } | { error: ErrorRecord } | null = null;
  const reading = (async () => {
    for await (const line of createInterface({ input: child.stdout, crlfDelay: Infinity })) {
      const said = parseLine(line);
      if (said === null) continue;
      if ("progress" in said) onProgress(said.progress);
      else if ("result" in said) outcome = { result: said.result };
      else outcome = { error: toErrorRecord(new SkepError(definedOnly(said.error))) };
    }
  })();
  let code: number | null;
  try {
    [code] = await Promise.all([ended, reading]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
  return conclude<K>(outcome, kind, { code, stderr }, signal);
}

function conclude<K extends TaskKind>(
  outcome: { result: unknown } | { error: ErrorRecord } | null,
  kind: K,
  end: { code: number | null; stderr: string },
  signal: AbortSignal,
): TaskResultOf<K> {
  if (outcome !== null && "result" in outcome) {
    const result = outcome.result as TaskResultOf<TaskKind>;
    if (result.kind === kind) return result as TaskResultOf<K>;
  }
  signal.throwIfAborted();
  if (outcome !== null && "error" in outcome) throw new SkepError(outcome.error);
  const said = end.stderr.trim();
  throw new SkepError({
    code: "SKEP_ONCE_FAILED",
    message: `the ${kind} job ended with code ${end.code ?? "none"} and no result${said === "" ? "" : `:\n${said}`}`,
    permanent: false,
    hint: "was it killed, for want of memory perhaps? try again",
  });
}

function definedOnly({ hint, ...record }: ErrorRecordWithOptionalHint): ErrorRecord {
  return hint === undefined ? record : { ...record, hint };
}
type ErrorRecordWithOptionalHint = Omit<ErrorRecord, "hint"> & { hint?: string | undefined };

/** Null for a line of something else: a library that prints. */
function parseLine(line: string): ReturnType<typeof onceLineSchema.parse> | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  const said = onceLineSchema.safeParse(value);
  return said.success ? said.data : null;
}
