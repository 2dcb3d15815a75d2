// Looks after the repository: locks what kept runs need, where the policy says so; between runs forgets by the policy's
// retention, and prunes once a day; and keeps the book of runs equal to the chain, which an operator's `skep forget` changes as well. What was done when stands in the chain itself.
import { isDeepStrictEqual } from "node:util";
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { putProtection } from "../shared/repository/catalogue.ts";
import { newestUpkeep } from "../shared/repository/chain.ts";
import { forgetRuns } from "../shared/repository/upkeep/forget.ts";
import { protectRuns } from "../shared/repository/upkeep/protect.ts";
import { prune } from "../shared/repository/upkeep/prune.ts";
import type { UpkeepEntry } from "../shared/repository/upkeep-entry.ts";
import { readStoreClock } from "../shared/store/clock.ts";
import { lockDaysUnder, type Policies } from "./policies.ts";
import type { JobQueue } from "./queue.ts";
import type { Repository } from "./repository.ts";
import { decideRetention, timeZoneOf } from "./retention.ts";
import type { RunBook } from "./run-book.ts";
import { runKind } from "./runs.ts";
import { pruneTerms } from "./upkeep.ts";

/** From one prune to the next. */
const everyMs = 24 * 3_600_000;

export class Caretaker {
  readonly #repository: Repository;
  readonly #policies: Pick<Policies, "inForce" | "doubt">;
  readonly #book: RunBook;
  readonly #queue: Pick<JobQueue, "openFlows">;
  readonly #log: Logger;
  /** Number of the upkeep entry that the book follows; null: not looked yet. */
  #followed: number | null = null;
  #toldNotExclusive = false;
  #toldDoubt = "";

  constructor(options: {
    repository: Repository;
    policies: Pick<Policies, "inForce" | "doubt">;
    book: RunBook;
    queue: Pick<JobQueue, "openFlows">;
    log: Logger;
  }) {
    this.#repository = options.repository;
    this.#policies = options.policies;
    this.#book = options.book;
    this.#queue = options.queue;
    this.#log = options.log;
  }

  /** Throws what forget, prune and the store throw; what was not done is done at the next look. */
  async look(signal: AbortSignal): Promise<void> {
    await this.#book.look(signal);
    const { inForce, doubt } = this.#policies;
    const lockDays = lockDaysUnder(inForce?.policy.retention.lockDays ?? null, doubt, this.#book.protection);
    // Nothing is given up in a store that lost its newest runs. The locks of those that are left go on: who takes runs
    // away waits for just these to end.
    if (this.#book.isCutOff) {
      await this.#protect(lockDays, signal);
      return;
    }
    const upkeep = await newestUpkeep(this.#repository.catalogue, signal);
    await this.#follow(upkeep);
    // Also while a run is under way: locks only get longer.
    await this.#protect(lockDays, signal);
    if (doubt !== null) {
      if (this.#toldDoubt !== doubt.message) this.#log.error({ error: toErrorRecord(doubt) }, doubt.message);
      this.#toldDoubt = doubt.message;
      return;
    }
    if (inForce === null || this.#book.summaries.length === 0 || (await this.#isRunning())) return;
    const { store } = this.#repository;
    const now = await readStoreClock(store, signal);
    if (upkeep !== null && now - Date.parse(upkeep.writtenAt) < everyMs) return;
    if (this.#repository.abilities?.conditionalWrites !== true) {
      if (!this.#toldNotExclusive) this.#log.warn({ store: store.address }, notExclusive);
      this.#toldNotExclusive = true;
      return;
    }
    const { policy } = inForce;
    const timeZone = timeZoneOf(policy);
    const { key, incarnation, catalogueKeys: keys, object: known } = this.#repository;
    const appender = { store, key, incarnation, known, signal };
    const forgotten = await forgetRuns({
      ...appender,
      choose: (runs) =>
        decideRetention(runs, policy.retention, now, timeZone)
          .filter(({ keptFor }) => keptFor.length === 0)
          .map(({ run }) => run),
    });
    if (forgotten.length > 0)
      this.#log.info({ runs: forgotten.map(({ id }) => id) }, "runs are forgotten by the policy");
    const pruned = await prune({ ...appender, keys, terms: pruneTerms, exclusive: false });
    this.#log.info({ ...pruned, missing: pruned.missing.length }, "the repository is pruned");
    await this.#follow(await newestUpkeep(this.#repository.catalogue, signal));
  }

  /** What is found stands in the store, and in the book. */
  async #protect(lockDays: number | null, signal: AbortSignal): Promise<void> {
    if (lockDays === null || this.#book.summaries.length === 0) return;
    const { catalogue, catalogueKeys: keys, object: repository } = this.#repository;
    const known = this.#book.protection;
    const found = await protectRuns({ catalogue, keys, repository, lockDays, known, signal });
    if (known !== null && isDeepStrictEqual({ ...known, writtenAt: "" }, { ...found, writtenAt: "" })) return;
    await putProtection(catalogue, found, signal);
    this.#book.protection = found;
    const faults = found.runs.flatMap(({ id, fault }) => (fault === null ? [] : [{ run: id, error: fault }]));
    if (found.fault !== null) this.#log.error({ error: found.fault }, "no run is protected by locks");
    else if (faults.length > 0) this.#log.error({ faults }, "runs are not protected by locks");
    else this.#log.info({ runs: found.runs.length, lockDays }, "runs are protected by locks");
  }

  async #follow(upkeep: UpkeepEntry | null): Promise<void> {
    const sequence = upkeep?.sequence ?? 0;
    if (this.#followed !== null && this.#followed !== sequence) await this.#book.load();
    this.#followed = sequence;
  }

  /** Also while Redis does not say: then a run may be. */
  async #isRunning(): Promise<boolean> {
    try {
      return (await this.#queue.openFlows()).some(({ kind }) => kind === runKind);
    } catch (error) {
      if (error instanceof SkepError && error.code === "SKEP_QUEUE_UNREACHABLE") return true;
      throw error;
    }
  }
}

const notExclusive =
  "nothing is pruned by itself: creations in this store do not exclude each other; `skep prune --exclusive` by hand";
