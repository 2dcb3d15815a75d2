// What a process of agent/once.ts said on its standard output, wherever it runs: progress, and at last a result or an error.
import type { TaskKind } from "../../../shared/contract/job.ts";
import type { TaskResultOf } from "../../../shared/contract/task-result.ts";
import type { JobProgress } from "../../../shared/contract/job-progress.ts";
import { onceLineSchema, type OnceLine } from "../../../shared/contract/once.ts";
import { SkepError } from "../../../shared/errors.ts";

/** A line of a result; the largest are a snapshot's warnings. */
const maxLineBytes = 16 * 1024 * 1024;

export class OnceOutcome {
  readonly #onProgress: (progress: JobProgress) => void;
  #rest = Buffer.alloc(0);
  #last: OnceLine | null = null;

  constructor(onProgress: (progress: JobProgress) => void) {
    this.#onProgress = onProgress;
  }

  push(piece: Uint8Array): void {
    this.#rest = Buffer.concat([this.#rest, piece]);
    for (let end = this.#rest.indexOf(10); end !== -1; end = this.#rest.indexOf(10)) {
      const line = this.#rest.toString("utf8", 0, end);
      this.#rest = this.#rest.subarray(end + 1);
      const said = parseLine(line);
      if (said === null) continue;
      if ("progress" in said) this.#onProgress(said.progress);
      else this.#last = said;
    }
    // A library that prints: nobody waits for the end of that line.
    if (this.#rest.length > maxLineBytes) this.#rest = Buffer.alloc(0);
  }

  /** The result of the job, whose task is of this kind. Throws the job's own error, or SKEP_ONCE_FAILED where it ended without a word. */
  conclude<K extends TaskKind>(
    kind: K,
    end: { code: number | null; stderr: string },
    signal: AbortSignal,
  ): TaskResultOf<K> {
    const last = this.#last;
    if (last !== null && "result" in last && last.result.kind === kind) return last.result as TaskResultOf<K>;
    signal.throwIfAborted();
    if (last !== null && "error" in last) {
      const { hint, ...record } = last.error;
      throw new SkepError(hint === undefined ? record : { ...record, hint });
    }
    const said = end.stderr.trim();
    throw new SkepError({
      code: "SKEP_ONCE_FAILED",
      message: `the ${kind} job ended with code ${end.code ?? "none"} and no result${said === "" ? "" : `:\n${said}`}`,
      permanent: false,
      hint: "was it killed, for want of memory perhaps? try again",
    });
  }
}

/** Null for a line of something else. */
function parseLine(line: string): OnceLine | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  const said = onceLineSchema.safeParse(value);
  return said.success ? said.data : null;
}
