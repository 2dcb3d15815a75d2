// The whole chain, read once: what forget and prune decide on. Runs are kept as briefs; their parts are handed over as
// they are read, so that a thousand runs of a hundred thousand parts never stand in memory.
import { SkepError } from "../../errors.ts";
import type { Catalogue } from "../catalogue.ts";
import { listSequences } from "../chain.ts";
import { ForeignObjects } from "../foreign.ts";
import { layout } from "../layout.ts";
import { isForgotten, readChain } from "../run-chain.ts";
import type { Run } from "../run.ts";
import type { UpkeepEntry } from "../upkeep-entry.ts";
import type { Link } from "./forgotten-spans.ts";

export interface RunBrief extends Link {
  id: string;
  status: Run["status"];
  startedAt: string;
  /** A Raft copy that was proven when it was taken. */
  hasRaft: boolean;
}

export interface ChainSurvey {
  /** Newest first, without those that were forgotten. */
  runs: RunBrief[];
  /** What counts now; null: there was none yet. */
  upkeep: UpkeepEntry | null;
  /** Upkeep entries that are there, newest first. */
  upkeepLinks: Link[];
  /** Number of the newest entry, 0 for none. */
  newest: number;
  /** Entries whose link to the one before is broken, with that one. */
  gaps: { newer: Link; older: Link | null }[];
  /** Objects under runs/ that do not open, or are not signed. */
  foreign: ForeignObjects;
  /** Those that were put over an entry whose first version counts. */
  covers: ForeignObjects;
  /** The number of the lowest of them above the newest entry; 0: there is none. */
  foreignAbove: number;
  /** Objects of entries that were forgotten, and are still there. */
  leftovers: number[];
}

/** `use` gets each run that is kept, newest first. */
export async function surveyChain(
  catalogue: Catalogue,
  options: { signal?: AbortSignal; use?: (run: Run, link: Link) => Promise<void> | void } = {},
): Promise<ChainSurvey> {
  const { signal, use } = options;
  const survey: ChainSurvey = {
    runs: [],
    upkeep: null,
    upkeepLinks: [],
    newest: 0,
    gaps: [],
    foreign: new ForeignObjects(),
    covers: new ForeignObjects(),
    foreignAbove: 0,
    leftovers: [],
  };
  let broken: Link | null = null;
  /** Newest first. */
  const foreign: number[] = [];
  const onFault = (fault: SkepError, key: string): void => {
    survey.foreign.add(fault, key);
    foreign.push(Number(key.slice(layout.runsPrefix.length)));
  };
  const onCovered = (fault: SkepError, key: string): unknown => survey.covers.add(fault, key);
  for await (const entry of readChain(catalogue, { onFault, onCovered, ...(signal && { signal }) })) {
    const { sequence, digest, previousDigest } = entry;
    const link = { sequence, digest, previousDigest };
    if (broken !== null) survey.gaps.push({ newer: broken, older: link });
    broken = entry.chain === "broken" ? link : null;
    survey.newest ||= sequence;
    if (entry.kind === "upkeep") {
      survey.upkeep ??= entry.upkeep;
      survey.upkeepLinks.push(link);
      continue;
    }
    const { id, status, startedAt, parts } = entry.run;
    const hasRaft = parts.some((part) => part.kind === "raft" && part.status === "done");
    survey.runs.push({ ...link, id, status, startedAt, hasRaft });
    await use?.(entry.run, link);
  }
  if (broken !== null) survey.gaps.push({ newer: broken, older: null });
  survey.foreignAbove = foreign.findLast((sequence) => sequence > survey.newest) ?? 0;
  const spans = survey.upkeep?.forgotten ?? [];
  if (spans.length > 0) {
    survey.leftovers = (await listSequences(catalogue.store, signal)).filter((each) => isForgotten(spans, each));
  }
  return survey;
}

/** An entry has the first free number: one that is farther above what counts was never one, whoever removed what lay between. */
const nearNumbers = 1000;

/**
 * Refuses to go on where something that is not there may have needed what would be deleted. Throws SKEP_UPKEEP_UNSAFE.
 * A foreign object between two entries whose link is whole has no say, nor one far above the newest.
 */
export function refuseGaps({ gaps, foreignAbove, newest }: ChainSurvey, address: string): void {
  const gap = gaps[0];
  if (gap === undefined && (foreignAbove === 0 || foreignAbove > newest + nearNumbers)) return;
  const what =
    gap === undefined
      ? `${layout.run(foreignAbove)}, above the newest, cannot be read`
      : `the entry before ${layout.run(gap.newer.sequence)} is missing or another one`;
  throw new SkepError({
    code: "SKEP_UPKEEP_UNSAFE",
    message: `the runs at ${address} are not whole: ${what}; what it needed would be deleted`,
    permanent: true,
    hint: "look for it in the store's former versions and bring it back; if it is lost for good: --accept-gaps",
  });
}
