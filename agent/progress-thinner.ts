// Thins out what a job tells of its progress: at most one report in a while, and always the newest in the end.
import type { JobProgress } from "../shared/contract/job-progress.ts";

export class ProgressThinner {
  readonly #everyMs: number;
  readonly #tell: (progress: JobProgress) => void;
  readonly #clock: () => number;
  #toldAt = -Infinity;
  #held: JobProgress | null = null;
  #timer: NodeJS.Timeout | null = null;

  /** `clock` in ms, from anywhere; never back. */
  constructor(everyMs: number, tell: (progress: JobProgress) => void, clock = (): number => performance.now()) {
    this.#everyMs = everyMs;
    this.#tell = tell;
    this.#clock = clock;
  }

  /** May be called often. */
  report(progress: JobProgress): void {
    this.#held = progress;
    if (this.#timer !== null) return;
    const waitMs = Math.max(0, this.#toldAt + this.#everyMs - this.#clock());
    if (waitMs === 0) this.#tellHeld();
    else {
      this.#timer = setTimeout(() => {
        this.#tellHeld();
      }, waitMs);
    }
  }

  /** Nothing is told from now on. */
  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#held = null;
  }

  #tellHeld(): void {
    this.#timer = null;
    const held = this.#held;
    this.#held = null;
    if (held === null) return;
    this.#toldAt = this.#clock();
    this.#tell(held);
  }
}
