// Whether the chain was cut off at its newest end. Links show what is missing between two entries, and nothing shows what is
// missing after the last: that takes a memory outside of the store, or the store's own of what was deleted there.
import type { Catalogue } from "../catalogue.ts";
import { isFaultOfEntry, readFirstEntry } from "../chain.ts";
import { layout, numberOfKey } from "../layout.ts";
import { isForgotten } from "../run-chain.ts";
import type { ChainSurvey } from "./chain-survey.ts";
import type { Finding } from "./finding.ts";

/** The newest entry of the chain, as somebody saw it at some time. */
export interface SeenEntry {
  sequence: number;
  /** BLAKE3-256 of its bytes; null where only the number was noted. */
  digest: string | null;
  /** For the message: who remembers, such as `an earlier check on this machine`. */
  by: string;
}

/** The newest entry that is there, for the next time; null where there is none. */
export function newestOf({ runs, upkeepLinks }: ChainSurvey): { sequence: number; digest: string } | null {
  const [newest = null] = [...runs, ...upkeepLinks].sort((a, b) => b.sequence - a.sequence);
  return newest && { sequence: newest.sequence, digest: newest.digest };
}

/**
 * Numbers of entries that were deleted, and not forgotten, of which the store keeps a former version; what somebody else had
 * put there is none. Throws as Store.listDeleted.
 */
export async function deletedEntries(
  catalogue: Catalogue,
  { upkeep }: ChainSurvey,
  signal: AbortSignal,
): Promise<number[]> {
  const hidden: number[] = [];
  for await (const key of catalogue.store.listDeleted(layout.runsPrefix, signal)) {
    const sequence = numberOfKey(key);
    if (sequence === null || key !== layout.run(sequence) || isForgotten(upkeep?.forgotten ?? [], sequence)) continue;
    try {
      await readFirstEntry(catalogue, sequence, signal);
      hidden.push(sequence);
    } catch (error) {
      if (!isFaultOfEntry(error)) throw error;
    }
  }
  return hidden;
}

/** `hidden`: numbers of entries that were deleted, of which the store keeps a former version. */
export function findCutOff(survey: ChainSurvey, seen: readonly SeenEntry[], hidden: readonly number[]): Finding[] {
  const spans = survey.upkeep?.forgotten ?? [];
  const there = new Map([...survey.runs, ...survey.upkeepLinks].map(({ sequence, digest }) => [sequence, digest]));
  const missing = (sequence: number, message: string): Finding => ({
    level: "error",
    code: "SKEP_RUNS_CUT_OFF",
    key: layout.run(sequence),
    message,
    hurts: [],
  });
  const findings = seen.flatMap(({ sequence, digest, by }) => {
    if (isForgotten(spans, sequence)) return [];
    const found = there.get(sequence);
    const what = `number ${sequence} of the chain, which ${by} saw,`;
    if (found === undefined) {
      return [
        missing(sequence, `${what} is gone, and no upkeep entry says so: the store was rolled back, or runs removed`),
      ];
    }
    if (digest === null || found === digest) return [];
    return [missing(sequence, `${what} is another one now: the store was rolled back, and written to since`)];
  });
  const known = new Set(seen.map(({ sequence }) => sequence));
  for (const sequence of hidden) {
    if (there.has(sequence) || known.has(sequence) || isForgotten(spans, sequence)) continue;
    findings.push(
      missing(
        sequence,
        `${layout.run(sequence)} was deleted, and no upkeep entry says so; the store keeps a former version`,
      ),
    );
  }
  return findings;
}
