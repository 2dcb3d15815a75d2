// Does jobs one at a time, again where that may help, and shows on a board how far they are.
import { setTimeout as wait } from "node:timers/promises";
import type { JobProgress } from "../../../shared/contract/job-progress.ts";
import { toErrorRecord } from "../../../shared/errors.ts";
import type { Part } from "../../../shared/repository/run.ts";
import type { Outcome } from "../../run-plan.ts";
import { describeProgress, makeBoard, type Board, type BoardLine } from "../board.ts";
import { describeTotals, partLabel } from "../run-report.ts";
import type { Session } from "../session.ts";
import type { WorkOptions } from "./host.ts";

/** The waits before the second and the third attempt. */
const retryWaitsMs = [2_000, 10_000] as const;

export type Label = Pick<Part, "kind" | "name" | "hostname">;

export class JobDesk {
  readonly #session: Session;
  readonly #nodeId: string;
  readonly #title: string;
  readonly #board: Board;
  readonly #lines = new Map<string, BoardLine>();

  constructor(session: Session, nodeId: string, title: string) {
    this.#session = session;
    this.#nodeId = nodeId;
    this.#title = title;
    this.#board = makeBoard(session.output);
  }

  announce(label: Label): void {
    this.#show(label, { state: "waiting", detail: "", share: null });
  }

  close(): void {
    this.#board.close();
  }

  /** What came of the job after at most three attempts. Throws only when the session is interrupted. */
  async work<R extends { part: Part }>(label: Label, act: (given: WorkOptions) => Promise<R>): Promise<Outcome<R>> {
    const { signal } = this.#session;
    const onProgress = (progress: JobProgress): void => {
      this.#show(label, { state: "running", ...describeProgress(progress) });
    };
    for (let attempt = 1; ; attempt++) {
      const startedAt = new Date().toISOString();
      this.#show(label, { state: "running", detail: attempt > 1 ? `attempt ${attempt}` : "", share: null });
      try {
        const result = await act({ attempt, onProgress });
        const { status, totals, error } = result.part;
        const detail = error?.message ?? (totals === undefined ? "" : describeTotals(totals));
        this.#show(label, { state: status, detail, share: null });
        return { state: "done", result };
      } catch (thrown) {
        signal.throwIfAborted();
        const error = toErrorRecord(thrown);
        const waitMs = error.permanent ? undefined : retryWaitsMs[attempt - 1];
        if (waitMs === undefined) {
          this.#show(label, { state: "failed", detail: error.message, share: null });
          const endedAt = new Date().toISOString();
          return { state: "failed", failure: { error, attempts: attempt, startedAt, endedAt, nodeId: this.#nodeId } };
        }
        this.#show(label, { state: "waiting", detail: `${error.message}; again in ${waitMs / 1000} s`, share: null });
        await this.#pause(waitMs);
      }
    }
  }

  async #pause(waitMs: number): Promise<void> {
    const { signal } = this.#session;
    try {
      await wait(waitMs, undefined, { signal });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  }

  #show(label: Label, state: Pick<BoardLine, "state" | "detail" | "share">): void {
    const id = `${label.kind} ${label.name}`;
    this.#lines.set(id, { id, label: partLabel(label), ...state });
    this.#board.update(this.#title, [...this.#lines.values()]);
  }
}
