// What was forgotten, as spans of the chain that keep its links whole: pure functions of what is in the chain.
import type { ChainEntry } from "../chain.ts";
import type { ForgottenSpan } from "../upkeep-entry.ts";

export type Link = Pick<ChainEntry, "sequence" | "digest" | "previousDigest">;

/** The spans that are there and those of the entries, neighbours joined, in order. */
export function addToSpans(spans: readonly ForgottenSpan[], entries: readonly Link[]): ForgottenSpan[] {
  const single = entries.map(({ sequence, digest, previousDigest }) => ({
    first: sequence,
    last: sequence,
    digest,
    previousDigest,
  }));
  const joined: ForgottenSpan[] = [];
  for (const span of [...spans, ...single].sort((a, b) => a.first - b.first)) {
    const before = joined.at(-1);
    if (before !== undefined && before.digest === span.previousDigest) {
      joined[joined.length - 1] = { ...before, last: span.last, digest: span.digest };
    } else joined.push(span);
  }
  return joined;
}

/**
 * A span for a gap that was accepted: what `newer` names and what is there below it are not neighbours, and never
 * will be again.
 */
export function spanOfGap(newer: Link, older: Link | null): ForgottenSpan | null {
  if (newer.previousDigest === null) return null;
  return {
    first: (older?.sequence ?? 0) + 1,
    last: newer.sequence - 1,
    digest: newer.previousDigest,
    previousDigest: older?.digest ?? null,
  };
}
