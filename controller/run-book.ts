// The runs that are written, as the store has them: read at start, added to at each commit. A cache of the chain.
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { appendRun, readRun, readRuns, type AppendRunOptions, type NewRun } from "../shared/repository/run-chain.ts";
import { readProtection } from "../shared/repository/catalogue.ts";
import {
  EntryReader,
  isFaultOfEntry,
  listSequences,
  newestEntry,
  type ChainEntry,
} from "../shared/repository/chain.ts";
import { ForeignObjects } from "../shared/repository/foreign.ts";
import { layout } from "../shared/repository/layout.ts";
import { protectionOf, type Protection } from "../shared/repository/protection.ts";
import type { Run } from "../shared/repository/run.ts";
import type { RunSummary } from "./api/schemas.ts";
import { LastSuccesses } from "./last-successes.ts";
import type { Repository } from "./repository.ts";

/** Most that are read at start and listed. */
const keptSummaries = 1000;
/** Whole runs that stay in memory. */
const keptRuns = 10;

export class RunBook {
  readonly #repository: Repository;
  readonly #log: Logger;
  /** Newest first. */
  #summaries: RunSummary[] = [];
  #runs: Run[] = [];
  /** Of the entries of the chain that were seen, the one with the highest number. */
  #newest: Seen | null = null;
  /** The one that is gone. */
  #lost: Seen | null = null;
  /** Which runs are locked; null where none was looked at. */
  protection: Protection | null = null;
  readonly successes = new LastSuccesses();
  /** What is wrong with entries of the chain that are read, or were. */
  readonly faults = new Map<string, SkepError>();
  /** Objects under runs/ that are no entries of ours. */
  readonly foreign = new ForeignObjects();

  constructor(repository: Repository, log: Logger) {
    this.#repository = repository;
    this.#log = log;
  }

  async load(): Promise<void> {
    const summaries: RunSummary[] = [];
    const runs: Run[] = [];
    const onFault = (fault: SkepError, key: string): void => {
      if (this.foreign.add(fault, key)) this.#logOf(fault, key);
    };
    for await (const { run, chain, key } of readRuns(this.#repository.catalogue, { onFault })) {
      if (chain === "broken") {
        const fault = chainBroken(key, this.#repository.store.address);
        this.faults.set(key, fault);
        this.#logOf(fault, key);
      }
      summaries.push(summaryOf(run));
      this.successes.add(run);
      if (runs.length < keptRuns) runs.push(run);
      if (summaries.length >= keptSummaries) break;
    }
    this.#summaries = summaries;
    this.#runs = runs;
    this.protection = await readProtection(this.#repository.catalogue, { onFault });
  }

  #logOf(fault: SkepError, key: string): void {
    this.#log.error({ key, error: toErrorRecord(fault) }, fault.message);
  }

  get isCutOff(): boolean {
    return this.#lost !== null;
  }

  /**
   * Whether the newest entry that this controller knows of is still there; what is wrong is among the faults until that
   * very entry is back. One with the same or a higher number that another one wrote over it is not it.
   */
  async look(signal?: AbortSignal): Promise<void> {
    const { catalogue, store } = this.#repository;
    const newest = await newestEntry(catalogue, await listSequences(store, signal), signal, (fault, key) => {
      if (!this.foreign.has(key) && this.foreign.add(fault, key)) this.#logOf(fault, key);
    });
    const wasLost = this.#lost;
    this.#lost = await this.#findLost(newest, signal);
    if (this.#lost === null) {
      this.#newest = newest && seenOf(newest);
      if (wasLost === null) return;
      this.faults.delete(layout.run(wasLost.sequence));
      this.#log.info({ key: layout.run(wasLost.sequence) }, "the entry of the chain that was gone is back");
    } else {
      const fault = cutOff(this.#lost.sequence, store.address);
      if (wasLost === null) this.#log.error({ error: toErrorRecord(fault) }, fault.message);
      this.faults.set(layout.run(this.#lost.sequence), fault);
    }
  }

  async #findLost(newest: ChainEntry | null, signal: AbortSignal | undefined): Promise<Seen | null> {
    const known = this.#lost ?? this.#newest;
    if (known === null) return null;
    if (newest?.sequence === known.sequence) return isSame(known, newest) ? null : known;
    // A newer one follows it: the links of the chain tell of what is missing between. Not so after it was lost: then it
    // may follow what was left.
    if (this.#lost === null) return (newest?.sequence ?? 0) > known.sequence ? null : known;
    try {
      const reader = new EntryReader(this.#repository.catalogue, () => undefined, signal);
      const found = await reader.read(known.sequence);
      return found !== null && isSame(known, found) ? null : known;
    } catch (error) {
      if (isFaultOfEntry(error)) return known;
      throw error;
    }
  }

  get summaries(): readonly RunSummary[] {
    return this.#summaries.map((summary) => ({ ...summary, protection: protectionOf(this.protection, summary.id) }));
  }

  has(runId: string): boolean {
    return this.#summaries.some(({ id }) => id === runId);
  }

  /** By id, or "latest"; null where there is none. */
  async run(id: string): Promise<Run | null> {
    const kept = id === "latest" ? this.#runs[0] : this.#runs.find((run) => run.id === id);
    if (kept !== undefined) return kept;
    if (!this.has(id)) return null;
    return (await readRun(this.#repository.catalogue, id, { onFault: () => undefined }))?.run ?? null;
  }

  /** Writes it as the next of the chain; once, however often it is called. */
  async append(run: NewRun, options: AppendRunOptions = {}): Promise<Run> {
    const { store, key, incarnation, object: known } = this.#repository;
    const written = await appendRun(store, key, incarnation, run, { ...options, known });
    if (!this.has(written.id)) {
      this.#summaries = [summaryOf(written), ...this.#summaries].slice(0, keptSummaries);
      this.#runs = [written, ...this.#runs].slice(0, keptRuns);
      this.successes.add(written);
      if (written.sequence >= (this.#newest?.sequence ?? 0)) {
        this.#newest = { sequence: written.sequence, mark: written.id };
      }
    }
    return written;
  }
}

/** `mark`: what no other entry of that number has: a run's id, or the digest of an upkeep entry. */
interface Seen {
  sequence: number;
  mark: string;
}

function seenOf(entry: ChainEntry): Seen {
  return { sequence: entry.sequence, mark: entry.kind === "run" ? entry.run.id : entry.digest };
}

function isSame(known: Seen, found: ChainEntry): boolean {
  return seenOf(found).mark === known.mark;
}

function cutOff(sequence: number, address: string): SkepError {
  return new SkepError({
    code: "SKEP_RUNS_CUT_OFF",
    message: `number ${sequence} of the chain at ${address}, which this controller saw, is gone: the store was rolled back, or runs removed`,
    permanent: true,
    hint: "find out by whom before anything is pruned; look for it in the store's former versions",
  });
}

function chainBroken(key: string, address: string): SkepError {
  return new SkepError({
    code: "SKEP_RUN_CHAIN_BROKEN",
    message: `the run before ${key} at ${address}, which it names, is missing or another one`,
    permanent: true,
    hint: "somebody removed or replaced a run: check who can write to the store, and its former versions",
  });
}

export function summaryOf(run: Run): RunSummary {
  const parts = { done: 0, partial: 0, failed: 0 };
  let sourceBytes = 0;
  let storedBytes = 0;
  for (const part of run.parts) {
    parts[part.status]++;
    sourceBytes += part.totals?.sourceBytes ?? 0;
    storedBytes += part.totals?.storedBytes ?? 0;
  }
  const { id, status, trigger, schedule, startedAt, endedAt } = run;
  const [notCovered, warnings] = [run.notCovered.length, run.warnings.length];
  const head = { id, status, trigger, schedule, startedAt, endedAt, parts, notCovered, warnings };
  return { ...head, sourceBytes, storedBytes, protection: null };
}
