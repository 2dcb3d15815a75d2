// What a prune gives up, as a pure function of what is in the store and of the time. In two passes, so that whoever
// began between them loses nothing: a pack that nothing needs is retired first (writers no longer count on it), and
// doomed by a later prune, once every run that began before its retirement is over or fenced.
import { maxListedPacks, type PackGroup, type UpkeepEntry } from "../upkeep-entry.ts";
import type { LedgerPack } from "./pack-ledger.ts";

export interface PruneTerms {
  /** ms since 1970, by the store's clock. */
  now: number;
  /** A run may take so long. Younger objects are left alone; a run that is older is fenced. 0: all at once. */
  graceMs: number;
  /** A pack of whose bytes less than this share is needed is sparse, 0 to 1. */
  sparseShare: number;
  /** Needed bytes of sparse packs that writers may have to write anew until the next prune. */
  retireBytes: number;
}

export interface PrunePlan {
  retired: PackGroup[];
  doomed: PackGroup[];
  /** Newly doomed, and those doomed before that are still there. */
  toDelete: { pack: string; sizeBytes: number }[];
  freedBytes: number;
  /** Of packs that were retired now or before, and will be freed. */
  retiredBytes: number;
  neededPacks: number;
  neededBytes: number;
  /** Needed by a kept run, and not in the store: what `skep check` is for. */
  missing: string[];
}

/** Of a smaller pack header and table are most; it is never sparse. */
const leastSparseBytes = 64 * 1024;

/** `packs` is gone through once. */
export function planPrune(packs: Iterable<LedgerPack>, upkeep: UpkeepEntry | null, terms: PruneTerms): PrunePlan {
  const { now, graceMs } = terms;
  const retiredSince = sinceByPack(upkeep?.retired);
  const doomedSince = sinceByPack(upkeep?.doomed);
  const retired: Listed[] = [];
  const doomed: Listed[] = [];
  const sparse: LedgerPack[] = [];
  const plan: PrunePlan = {
    retired: [],
    doomed: [],
    toDelete: [],
    freedBytes: 0,
    retiredBytes: 0,
    neededPacks: 0,
    neededBytes: 0,
    missing: [],
  };
  let budget = terms.retireBytes;
  for (const found of packs) {
    const { pack, sizeBytes, storedAtMs, isNeeded, liveBytes, writerId } = found;
    const wasDoomed = doomedSince.get(pack);
    const wasRetired = retiredSince.get(pack);
    if (isNeeded) {
      plan.neededPacks++;
      plan.neededBytes += sizeBytes ?? 0;
      if (sizeBytes === null) plan.missing.push(pack);
      else if (wasRetired !== undefined) {
        retired.push({ pack, writerId, since: wasRetired });
        plan.retiredBytes += sizeBytes;
        budget -= liveBytes;
      } else if (isSparse(found, terms)) sparse.push(found);
      continue;
    }
    if (sizeBytes === null) continue;
    const isFreed = wasRetired !== undefined ? wasRetired <= now - graceMs : graceMs === 0 && storedAtMs <= now;
    if (wasDoomed !== undefined || isFreed) {
      doomed.push({ pack, writerId, since: wasDoomed ?? now });
      plan.toDelete.push({ pack, sizeBytes });
      plan.freedBytes += sizeBytes;
    } else if (wasRetired !== undefined || storedAtMs <= now - graceMs) {
      retired.push({ pack, writerId, since: wasRetired ?? now });
      plan.retiredBytes += sizeBytes;
    }
  }
  // Those first that free most for what is written anew.
  sparse.sort((a, b) => share(a) - share(b));
  for (const { pack, writerId, liveBytes, sizeBytes } of sparse) {
    if (liveBytes > budget) continue;
    budget -= liveBytes;
    plan.retiredBytes += sizeBytes ?? 0;
    retired.push({ pack, writerId, since: now });
  }
  // Doomed packs that are gone stay named while there is room: an agent that slept may still count on them.
  const there = new Set(doomed.map(({ pack }) => pack));
  for (const { writerId, since, packs: named } of upkeep?.doomed ?? []) {
    for (const pack of named) if (!there.has(pack)) doomed.push({ pack, writerId, since: Date.parse(since) });
  }
  plan.doomed = group(doomed.slice(0, maxListedPacks));
  plan.toDelete = plan.toDelete.slice(0, maxListedPacks);
  plan.freedBytes = plan.toDelete.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  plan.retired = group(retired.slice(0, maxListedPacks));
  return plan;
}

/** `YYYYMMDD-HHMMSS` of that moment: below it begin the ids of the runs that began before. */
export function fenceAt(ms: number): string {
  const [day, time] = new Date(ms).toISOString().slice(0, 19).split("T") as [string, string];
  return `${day.replaceAll("-", "")}-${time.replaceAll(":", "")}`;
}

export function isSparse(
  { sizeBytes, liveBytes, storedAtMs }: LedgerPack,
  { now, graceMs, sparseShare }: Pick<PruneTerms, "now" | "graceMs" | "sparseShare">,
): boolean {
  if (sizeBytes === null || sizeBytes < leastSparseBytes) return false;
  return liveBytes < sizeBytes * sparseShare && storedAtMs <= now - graceMs;
}

interface Listed {
  pack: string;
  writerId: string;
  since: number;
}

function share({ liveBytes, sizeBytes }: LedgerPack): number {
  return liveBytes / (sizeBytes ?? 1);
}

function sinceByPack(groups: readonly PackGroup[] | undefined): Map<string, number> {
  return new Map((groups ?? []).flatMap(({ since, packs }) => packs.map((pack) => [pack, Date.parse(since)] as const)));
}

function group(listed: readonly Listed[]): PackGroup[] {
  const groups = new Map<string, PackGroup>();
  for (const { pack, writerId, since } of listed) {
    const key = `${since} ${writerId}`;
    const known = groups.get(key);
    if (known === undefined) groups.set(key, { writerId, since: new Date(since).toISOString(), packs: [pack] });
    else known.packs.push(pack);
  }
  return [...groups.values()].sort((a, b) => (a.since < b.since ? 1 : a.since > b.since ? -1 : 0));
}
