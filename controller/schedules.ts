// Begins the runs that are due. What was begun is read from the runs themselves, so that a restart forgets nothing:
// a time that passed while the controller was down is made up for once.
import type { Logger } from "../shared/log.ts";
import type { Policies } from "./policies.ts";
import type { JobQueue } from "./queue.ts";
import type { RunBook } from "./run-book.ts";
import { dataOf, runKind, type Runs } from "./runs.ts";
import { dueRuns } from "./schedule.ts";

export class Schedules {
  readonly #policies: Policies;
  readonly #book: RunBook;
  readonly #runs: Runs;
  readonly #queue: JobQueue;
  readonly #log: Logger;

  constructor(options: { policies: Policies; book: RunBook; runs: Runs; queue: JobQueue; log: Logger }) {
    this.#policies = options.policies;
    this.#book = options.book;
    this.#runs = options.runs;
    this.#queue = options.queue;
    this.#log = options.log;
  }

  /** `now` in ms since 1970. */
  async look(now: number): Promise<void> {
    const inForce = this.#policies.inForce;
    if (inForce === null || !this.#queue.ready) return;
    const { policy, createdAt } = inForce;
    if (policy.schedules.length === 0) return;
    const begunAt = new Map(policy.schedules.map(({ name }) => [name, this.#lastBegun(name, Date.parse(createdAt))]));
    // Also those that ended without a run object: what failed for good is not begun again before its next time.
    for (const flow of await this.#queue.flows(runKind)) {
      const schedule = dataOf(flow)?.schedule ?? null;
      if (schedule !== null) begunAt.set(schedule, Math.max(begunAt.get(schedule) ?? 0, flow.createdAt));
    }
    for (const run of dueRuns(policy, begunAt, now)) {
      const begun = await this.#runs.due(run, now);
      if (begun) this.#log.info(run, run.missed ? "a run begins later than it was due" : "a run is due");
    }
  }

  /** ms since 1970. A schedule that was never run counts from when its policy came into force: it has missed nothing. */
  #lastBegun(schedule: string, inForceSince: number): number {
    const last = this.#book.summaries.find((run) => run.schedule === schedule);
    return last === undefined ? inForceSince : Date.parse(last.startedAt);
  }
}
