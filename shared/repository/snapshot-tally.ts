// What a snapshot tells of itself while it is written and at its end: totals, warnings, progress.
import type { ManifestEntry } from "./manifest.ts";
import type { ReadCounter } from "./read-counter.ts";
import type { PartTotals, Warning } from "./run.ts";
import type { SnapshotResult } from "./snapshot.ts";

export interface SnapshotProgress {
  phase: string;
  /** Plain bytes of the source so far, read or known to be unchanged. Less than before where a file changed and is read again. */
  doneBytes: number;
  totalBytes: null;
  /** Read whole, and all before them. */
  doneFiles: number;
}

const maxWarnings = 1000;
const maxMessageChars = 16_384;
export const reportEveryMs = 1000;

export class SnapshotTally {
  readonly totals: PartTotals = { files: 0, directories: 0, others: 0, sourceBytes: 0, newBytes: 0, storedBytes: 0 };
  /** Entries of the manifest. */
  entries = 0;
  /** Set false where something could not be read. */
  complete = true;
  readonly #warnings: Warning[] = [];
  #warningsLeftOut = 0;
  readonly #onProgress: ((progress: SnapshotProgress) => void) | undefined;
  readonly #underWay: Pick<ReadCounter, "bytes">;
  #reportedAt = -Infinity;
  #readBytes = 0;

  /** `underWay`: of what is being read now. */
  constructor(onProgress: ((progress: SnapshotProgress) => void) | undefined, underWay: Pick<ReadCounter, "bytes">) {
    this.#onProgress = onProgress;
    this.#underWay = underWay;
  }

  warn(code: string, message: string): void {
    if (this.#warnings.length < maxWarnings) this.#warnings.push({ code, message: message.slice(0, maxMessageChars) });
    else this.#warningsLeftOut++;
  }

  countEntry(type: ManifestEntry["type"], sizeBytes: number): void {
    this.entries++;
    this.totals.sourceBytes += sizeBytes;
    if (type === "file") this.totals.files++;
    else if (type === "directory") this.totals.directories++;
    else this.totals.others++;
  }

  /** Plain bytes of the source that are read, or known to be unchanged; negative: they are not after all. */
  countRead(bytes: number): void {
    this.#readBytes += bytes;
  }

  /** At most once a second, unless `always`. */
  report(phase: string, always = false): void {
    const now = performance.now();
    if (!always && now - this.#reportedAt < reportEveryMs) return;
    this.#reportedAt = now;
    const doneBytes = this.#readBytes + this.#underWay.bytes;
    this.#onProgress?.({ phase, doneBytes, totalBytes: null, doneFiles: this.totals.files });
  }

  findings(): Pick<SnapshotResult, "totals" | "warnings" | "warningsLeftOut" | "complete"> {
    const { totals, complete } = this;
    return { totals, warnings: this.#warnings, warningsLeftOut: this.#warningsLeftOut, complete };
  }
}
