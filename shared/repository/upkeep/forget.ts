// Forgets runs: first an upkeep entry says so, then their objects go. Killed in between, they are forgotten all the
// same, and the next forget or prune takes the objects away. What they needed is prune's matter.
import { SkepError } from "../../errors.ts";
import { readStoreClock } from "../../store/clock.ts";
import { catalogueToAppend } from "../chain.ts";
import { layout } from "../layout.ts";
import { runIdOfRefs } from "../moved-refs.ts";
import { maxForgottenRuns } from "../upkeep-entry.ts";
import { appendUpkeep, type Appender, type UpkeepContent } from "./append-upkeep.ts";
import { refuseGaps, surveyChain, type ChainSurvey, type RunBrief } from "./chain-survey.ts";
import { addToSpans, spanOfGap } from "./forgotten-spans.ts";

/** Others may append in between, each time one run. */
const maxRounds = 100;

export interface ForgetOptions extends Appender {
  /** Which of these, newest first, are to be forgotten; asked again where the chain grew meanwhile. */
  choose: (runs: readonly RunBrief[]) => readonly RunBrief[];
  acceptGaps?: boolean;
  signal?: AbortSignal;
}

/** What was forgotten. Throws SKEP_FORGET_REFUSED, SKEP_UPKEEP_UNSAFE, SKEP_REPOSITORY_FENCED, and what the store throws. */
export async function forgetRuns(options: ForgetOptions): Promise<RunBrief[]> {
  const { store, key, known, choose, acceptGaps = false, signal } = options;
  const catalogue = await catalogueToAppend(store, key, options.incarnation, { signal, known, givesUp: !acceptGaps });
  for (let round = 1; round <= maxRounds; round++) {
    const survey = await surveyChain(catalogue, { ...(signal && { signal }) });
    if (!acceptGaps) refuseGaps(survey, store.address);
    const chosen = choose(survey.runs);
    refuseLast(survey.runs, chosen, store.address);
    await deleteEntries(options, survey.leftovers);
    if (chosen.length === 0) return [];
    const writtenAt = new Date(await readStoreClock(store, signal)).toISOString();
    const content = carryOn(survey, chosen, writtenAt, acceptGaps);
    const written = await appendUpkeep(options, survey.newest, content, signal);
    if (written === null) continue;
    await deleteEntries(
      options,
      [...chosen, ...survey.upkeepLinks].map(({ sequence }) => sequence),
    );
    return [...chosen];
  }
  throw new SkepError({
    code: "SKEP_UPKEEP_BUSY",
    message: `runs were appended to ${store.address} faster than an upkeep entry could be written`,
    permanent: false,
    hint: "try again when fewer runs end",
  });
}

/** The next upkeep entry's content: all that the last one says, the chosen runs and older upkeep entries forgotten. */
export function carryOn(
  survey: ChainSurvey,
  chosen: readonly RunBrief[],
  writtenAt: string,
  acceptGaps: boolean,
): UpkeepContent {
  const { upkeep, upkeepLinks, gaps } = survey;
  const accepted = acceptGaps ? gaps.flatMap(({ newer, older }) => spanOfGap(newer, older) ?? []) : [];
  const gone = new Set(chosen.map(({ id }) => id));
  const kept = new Set(survey.runs.flatMap(({ id }) => (gone.has(id) ? [] : [id])));
  const lost = chosen.map(({ id, sequence }) => ({ id, sequence, forgottenAt: writtenAt }));
  return {
    writtenAt,
    forgotten: addToSpans([...(upkeep?.forgotten ?? []), ...accepted], [...chosen, ...upkeepLinks]),
    forgottenRuns: [...lost, ...(upkeep?.forgottenRuns ?? [])].slice(0, maxForgottenRuns),
    fencedBefore: upkeep?.fencedBefore ?? null,
    retired: upkeep?.retired ?? [],
    doomed: upkeep?.doomed ?? [],
    movedRefs: (upkeep?.movedRefs ?? []).filter(({ from }) => kept.has(runIdOfRefs(from))),
  };
}

/** Runs that are never forgotten, with the reason; by id. `runs` newest first. */
export function protectedRuns(runs: readonly RunBrief[]): Map<string, string[]> {
  const reasons = new Map<string, string[]>();
  const protect = (run: RunBrief | undefined, reason: string): void => {
    if (run !== undefined) reasons.set(run.id, [...(reasons.get(run.id) ?? []), reason]);
  };
  protect(runs[0], "the newest");
  const good = (status: RunBrief["status"]): RunBrief | undefined => runs.find((run) => run.status === status);
  protect(good("done") ?? good("partial"), "the last good one");
  protect(
    runs.find(({ hasRaft }) => hasRaft),
    "the newest proven Raft state",
  );
  return reasons;
}

function refuseLast(runs: readonly RunBrief[], chosen: readonly RunBrief[], address: string): void {
  const reasons = protectedRuns(runs);
  for (const { id } of chosen) {
    const reason = reasons.get(id);
    if (reason === undefined) continue;
    throw new SkepError({
      code: "SKEP_FORGET_REFUSED",
      message: `run ${id} at ${address} is never forgotten: it is ${reason.join(", and ")}`,
      permanent: true,
      hint: "make a good run first: `skep backup --wait`",
    });
  }
}

/** Only after the entry that forgets them: an object that cannot be deleted (locked, say) is passed over when read. */
async function deleteEntries({ store, signal }: ForgetOptions, sequences: readonly number[]): Promise<void> {
  await store.delete(sequences.map(layout.run), signal);
}
