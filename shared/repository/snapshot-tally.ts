// What a snapshot tells of itself while it is written and at its end: totals, warnings, progress.
import type { ManifestEntry } from "./manifest.ts";
import type { PartTotals, Warning } from "./run.ts";
import type { SnapshotResult } from "./snapshot.ts";

export interface SnapshotProgress {
  phase: string;
  /** Plain bytes of the source so far, read or known to be unchanged. */
  doneBytes: number;
  totalBytes: null;
  doneFiles: number;
}

const maxWarnings = 1000;
const maxMessageChars = 16_384;
const reportEveryMs = 1000;

export class SnapshotTally {
  readonly totals: PartTotals = { files: 0, directories: 0, others: 0, sourceBytes: 0, newBytes: 0, storedBytes: 0 };
  /** Entries of the manifest. */
  entries = 0;
  /** Set false where something could not be read. */
  complete = true;
  readonly #warnings: Warning[] = [];
  #warningsLeftOut = 0;
  readonly #onProgress: ((progress: SnapshotProgress) => void) | undefined;
  #reportedAt = -Infinity;

  constructor(onProgress: ((progress: SnapshotProgress) => void) | undefined) {
    this.#onProgress = onProgress;
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

  /** At most once a second, unless `always`. */
  report(phase: string, always = false): void {
    const now = performance.now();
    if (!always && now - this.#reportedAt < reportEveryMs) return;
    this.#reportedAt = now;
    const { sourceBytes, files } = this.totals;
    this.#onProgress?.({ phase, doneBytes: sourceBytes, totalBytes: null, doneFiles: files });
  }

  findings(): Pick<SnapshotResult, "totals" | "warnings" | "warningsLeftOut" | "complete"> {
    const { totals, complete } = this;
    return { totals, warnings: this.#warnings, warningsLeftOut: this.#warningsLeftOut, complete };
  }
}
