// Which packs a compaction rewrites, as a pure function of what is in the store and of the time.
import type { LedgerPack } from "./pack-ledger.ts";
import { isSparse, type PruneTerms } from "./prune-plan.ts";

export interface CompactTerms extends Pick<PruneTerms, "now" | "graceMs" | "sparseShare"> {
  /** Needed bytes that are written anew, at most. */
  maxBytes: number;
  /** Packs that may be listed as retired beside those that are. */
  maxPacks: number;
}

export interface CompactPlan {
  /** Those first that free most for what is written anew; then by writer, so that each writer's come together. */
  packs: (LedgerPack & { sizeBytes: number })[];
  /** Of them, and what the next prunes give back. */
  packBytes: number;
  /** What is written anew. */
  liveBytes: number;
}

/** `packs` is gone through once. A younger pack is left alone: the run that it was written for may be under way. */
export function planCompaction(packs: Iterable<LedgerPack>, terms: CompactTerms): CompactPlan {
  const sparse: CompactPlan["packs"] = [];
  for (const pack of packs) {
    const { isNeeded, sizeBytes, writerId } = pack;
    if (isNeeded && sizeBytes !== null && writerId !== "" && isSparse(pack, terms)) sparse.push({ ...pack, sizeBytes });
  }
  sparse.sort((a, b) => a.liveBytes / a.sizeBytes - b.liveBytes / b.sizeBytes);
  const plan: CompactPlan = { packs: [], packBytes: 0, liveBytes: 0 };
  for (const pack of sparse) {
    if (plan.packs.length >= terms.maxPacks) break;
    if (plan.liveBytes + pack.liveBytes > terms.maxBytes) continue;
    plan.packs.push(pack);
    plan.packBytes += pack.sizeBytes;
    plan.liveBytes += pack.liveBytes;
  }
  plan.packs.sort((a, b) => (a.writerId < b.writerId ? -1 : a.writerId > b.writerId ? 1 : 0));
  return plan;
}
