// Does one job in a process of its own, agent/once.ts: the job and its secrets on standard input, progress and the
// result as lines on standard output. The CLI never imports the agent.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { TaskKind } from "../../../shared/contract/job.ts";
import type { TaskResultOf } from "../../../shared/contract/task-result.ts";
import type { JobProgress } from "../../../shared/contract/job-progress.ts";
import type { OnceInput } from "../../../shared/contract/once.ts";
import { nodeFlags } from "../../../shared/node-flags.ts";
import { OnceOutcome } from "./once-outcome.ts";

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
  const child = spawn(process.execPath, [...nodeFlags, programPath], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
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
  const outcome = new OnceOutcome(onProgress);
  child.stdout.on("data", (piece: Buffer) => {
    outcome.push(piece);
  });
  let code: number | null;
  try {
    code = await ended;
  } finally {
    signal.removeEventListener("abort", stop);
  }
  return outcome.conclude(kind, { code, stderr }, signal);
}
