// Takes away what no kept run needs. It marks from the refs of all runs, writes an upkeep entry that names what is
// given up, and only then deletes. The entry's place in the chain is the fence: a run that was committed before it is
// among those marked, and one that comes after it was looked through with the entry's list at hand. So there is no
// lease that could run out: of two pruners one appends, the other marks again.
import { SkepError } from "../../errors.ts";
import { readStoreClock } from "../../store/clock.ts";
import type { ObjectInfo, Store } from "../../store/store.ts";
import { catalogueToAppend } from "../chain.ts";
import { putIndex } from "../index-object.ts";
import { layout, runIdPattern } from "../layout.ts";
import { runIdOfRefs } from "../moved-refs.ts";
import type { PackRef } from "../refs.ts";
import { packsOf, type UpkeepEntry } from "../upkeep-entry.ts";
import { appendUpkeep, type Appender } from "./append-upkeep.ts";
import { refuseGaps } from "./chain-survey.ts";
import { carryOn } from "./forget.ts";
import { SmallIndexes } from "./index-merge.ts";
import { readIndexes } from "./index-objects.ts";
import { markNeeded, type MarkPhase } from "./mark-needed.ts";
import { PackLedger } from "./pack-ledger.ts";
import { fenceAt, planPrune, type PrunePlan, type PruneTerms } from "./prune-plan.ts";
import type { CatalogueKeys } from "./refs-lines.ts";

const runFolders = ["refs/", "manifests/", "archives/"] as const;
const deletedAtOnce = 1000;
/** Others may append in between, each time one run. */
const maxRounds = 20;
/** An index object of which less than this share is left is written anew. */
const indexShare = 0.5;

export interface PruneOptions extends Appender {
  keys: CatalogueKeys;
  terms: Omit<PruneTerms, "now">;
  /** Nothing is written or deleted. */
  dryRun?: boolean;
  acceptGaps?: boolean;
  /** Where the store's creations do not exclude each other: whoever says so answers for it that nobody else writes runs. */
  exclusive: boolean;
  signal: AbortSignal;
  onProgress?: (phase: PrunePhase, done: number) => void;
}

export type PrunePhase = MarkPhase | "deleting";

export interface PruneResult extends Pick<
  PrunePlan,
  "freedBytes" | "retiredBytes" | "neededPacks" | "neededBytes" | "missing"
> {
  deletedPacks: number;
  /** Runs, manifests, refs and archives that no kept run names, and index objects of packs that are gone, or that became one. */
  deletedOthers: number;
  keptRuns: number;
}

/**
 * Throws SKEP_PRUNE_NOT_EXCLUSIVE, SKEP_UPKEEP_UNSAFE, SKEP_UPKEEP_BUSY, SKEP_REPOSITORY_FENCED, what the refs of a kept run
 * throw (then nothing was deleted), and what the store throws.
 */
export async function prune(options: PruneOptions): Promise<PruneResult> {
  const { store, exclusive, signal } = options;
  await refuseShared(store, exclusive, signal);
  for (let round = 1; round <= maxRounds; round++) {
    const ledger = new PackLedger();
    try {
      const done = await pruneOnce(options, ledger);
      if (done !== null) return done;
    } finally {
      ledger.close();
    }
  }
  throw new SkepError({
    code: "SKEP_UPKEEP_BUSY",
    message: `runs were appended to ${store.address} faster than an upkeep entry could be written`,
    permanent: false,
    hint: "try again when fewer runs end",
  });
}

/** Null where a run was appended meanwhile. */
async function pruneOnce(options: PruneOptions, ledger: PackLedger): Promise<PruneResult | null> {
  const { store, key, known, dryRun = false, acceptGaps = false, signal } = options;
  const now = await readStoreClock(store, signal);
  const terms = { ...options.terms, now };
  const catalogue = await catalogueToAppend(store, key, options.incarnation, { signal, known, givesUp: !acceptGaps });
  const survey = await markNeeded(catalogue, ledger, options);
  if (!acceptGaps) refuseGaps(survey, store.address);
  const plan = planPrune(ledger.packs(), survey.upkeep, terms);
  const fence = fenceAt(now - terms.graceMs);
  const before = survey.upkeep?.fencedBefore ?? "";
  const fencedBefore = fence > before ? fence : before;
  const { freedBytes, retiredBytes, neededPacks, neededBytes, missing } = plan;
  const result: PruneResult = {
    ...{ freedBytes, retiredBytes, neededPacks, neededBytes, missing },
    deletedPacks: plan.toDelete.length,
    deletedOthers: 0,
    keptRuns: survey.runs.length,
  };
  if (!dryRun) {
    const writtenAt = new Date(now).toISOString();
    const { retired, doomed } = plan;
    const content = { ...carryOn(survey, [], writtenAt, acceptGaps), fencedBefore, retired, doomed };
    if ((await appendUpkeep(options, survey.newest, content, signal)) === null) return null;
  }
  const sweep = new Sweep(options, dryRun);
  await sweep.all([...survey.leftovers, ...survey.upkeepLinks.map(({ sequence }) => sequence)].map(layout.run));
  await sweep.all(plan.toDelete.map(({ pack }) => layout.pack(pack)));
  const oldEnoughMs = now - terms.graceMs;
  const kept = new Set(survey.runs.map(({ id }) => id));
  const readStill = runsMovedSince(oldEnoughMs, survey.upkeep);
  for (const folder of runFolders) {
    for await (const object of store.list(folder, signal)) {
      const isReadStill = folder === "refs/" && readStill.has(runIdOfRefs(object.key));
      if (!isReadStill && isGivenUp(object, kept, ledger, fencedBefore, oldEnoughMs)) await sweep.one(object.key);
    }
  }
  await pruneIndexes(options, ledger, new Set(packsOf(plan.doomed)), oldEnoughMs, sweep);
  await sweep.flush();
  return { ...result, deletedOthers: sweep.deleted - plan.toDelete.length };
}

/** Runs whose refs a compaction replaced so lately that a restore may be reading the former ones: they have the packs' grace. */
function runsMovedSince(oldEnoughMs: number, upkeep: UpkeepEntry | null): ReadonlySet<string> {
  const recent = (upkeep?.movedRefs ?? []).filter(({ since }) => Date.parse(since) > oldEnoughMs);
  return new Set(recent.map(({ from }) => runIdOfRefs(from)));
}

/** True for an object of a run that is not kept and can no longer be, or that its run does not name. */
function isGivenUp(
  { key, storedAt }: ObjectInfo,
  kept: ReadonlySet<string>,
  ledger: PackLedger,
  fencedBefore: string,
  oldEnoughMs: number,
): boolean {
  const runId = key.split("/")[1] ?? "";
  if (!runIdPattern.test(runId) || Date.parse(storedAt) > oldEnoughMs) return false;
  return kept.has(runId) ? !ledger.isNamed(key) : runId < fencedBefore;
}

/** Index objects whose packs are all gone go; one that is mostly so is written anew, as its writer would, and so are many small ones. */
async function pruneIndexes(
  { store, keys, signal, dryRun = false }: PruneOptions,
  ledger: PackLedger,
  doomed: ReadonlySet<string>,
  oldEnoughMs: number,
  sweep: Sweep,
): Promise<void> {
  const replace = async (writerId: string, packs: readonly PackRef[], by: readonly string[]): Promise<void> => {
    if (packs.length > 0 && !dryRun) {
      const place = { store, repositoryId: keys.repositoryId, writerId, sealKey: keys.sealKeyOf(writerId) };
      await putIndex(place, Math.max(...packs.map(({ epoch }) => epoch)), packs, signal);
    }
    for (const key of by) await sweep.one(key);
    // A cache that reads both shall not keep the one that goes.
    await sweep.flush();
  };
  const small = new SmallIndexes();
  for await (const { key, writerId, storedAtMs, packs } of readIndexes(keys, signal)) {
    if (packs === null || storedAtMs > oldEnoughMs) continue;
    const left = packs.filter(({ pack }) => !doomed.has(pack) && ledger.find(pack)?.sizeBytes != null);
    const isMostlyGone = left.length === 0 || left.length < packs.length * indexShare;
    if (isMostlyGone) await replace(writerId, left, [key]);
    else {
      const merge = small.add(writerId, key, left);
      if (merge !== null) await replace(writerId, merge.packs, merge.keys);
    }
  }
}

/** Deletes in batches; counts only, in a dry run. */
class Sweep {
  readonly #options: PruneOptions;
  readonly #dryRun: boolean;
  #held: string[] = [];
  deleted = 0;

  constructor(options: PruneOptions, dryRun: boolean) {
    this.#options = options;
    this.#dryRun = dryRun;
  }

  async one(key: string): Promise<void> {
    this.#held.push(key);
    if (this.#held.length >= deletedAtOnce) await this.flush();
  }

  async all(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.one(key);
    await this.flush();
  }

  async flush(): Promise<void> {
    const { store, signal, onProgress } = this.#options;
    if (!this.#dryRun) await store.delete(this.#held, signal);
    this.deleted += this.#held.length;
    this.#held = [];
    onProgress?.("deleting", this.deleted);
  }
}

/** Throws SKEP_PRUNE_NOT_EXCLUSIVE. */
export async function refuseShared(store: Store, exclusive: boolean, signal: AbortSignal): Promise<void> {
  if (exclusive || (await store.probe(signal)).conditionalWrites) return;
  throw new SkepError({
    code: "SKEP_PRUNE_NOT_EXCLUSIVE",
    message: `creations at ${store.address} do not exclude each other: a run could be committed while its packs are deleted`,
    permanent: true,
    hint: "stop the controller and every backup, then --exclusive; or use a bucket without versions (docs/STORES.md)",
  });
}
