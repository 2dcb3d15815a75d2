// Frees packs that are mostly dead: what kept runs need of them is written to new packs, refs that name the new places are
// written beside those of the runs, and then one upkeep entry says that these refs count now and the old packs are
// retired. A later prune deletes them, once no run can name them any more.
//
// Order of writing: packs, index, refs, the entry. Until that entry nothing has changed: who is killed before leaves what the
// next prune takes. It is the same fence as a prune's: the entry is appended only if the upkeep entry that counted when
// all was looked through counts still. Runs may be appended meanwhile, also ones that name the old packs: those are
// retired, not doomed, and stay as long as a run needs them.
import { SkepError } from "../../errors.ts";
import { readStoreClock } from "../../store/clock.ts";
import { catalogueToAppend } from "../chain.ts";
import { runIdOfRefs, type MovedRefs } from "../moved-refs.ts";
import { decodePackLine, type PackRef } from "../refs.ts";
import { writeRefs } from "../refs-writer.ts";
import type { Part, Run } from "../run.ts";
import { maxListedPacks, maxMovedRefs, packsOf, type PackGroup, type UpkeepEntry } from "../upkeep-entry.ts";
import { appendUpkeep, type Appender } from "../upkeep/append-upkeep.ts";
import { refuseGaps, surveyChain, type ChainSurvey } from "../upkeep/chain-survey.ts";
import { planCompaction, type CompactPlan, type CompactTerms } from "../upkeep/compact-plan.ts";
import { carryOn } from "../upkeep/forget.ts";
import { markNeeded, type MarkPhase } from "../upkeep/mark-needed.ts";
import { PackLedger } from "../upkeep/pack-ledger.ts";
import { refuseShared } from "../upkeep/prune.ts";
import { openRefs, type CatalogueKeys } from "../upkeep/refs-lines.ts";
import { ChunkMover } from "./chunk-mover.ts";
import { MoveBook } from "./move-book.ts";
import type { Operator } from "./operator.ts";

/** Each time an upkeep entry came in between, and everything is looked through again. */
const maxRounds = 5;
/** Runs that are appended while the entry is. */
const maxAppends = 20;

export type CompactPhase = MarkPhase | "moving" | "refs";

export interface CompactOptions extends Appender {
  keys: CatalogueKeys;
  operator: Operator;
  terms: Omit<CompactTerms, "now" | "maxPacks">;
  /** Asked once, before anything is written. */
  agree: (plan: CompactPlan) => Promise<boolean>;
  acceptGaps?: boolean;
  /** As of a prune. */
  exclusive: boolean;
  signal: AbortSignal;
  onProgress?: (phase: CompactPhase, done: number) => void;
}

export interface CompactResult {
  changed: boolean;
  packs: number;
  /** Of the packs that a later prune frees. */
  packBytes: number;
  liveBytes: number;
  /** Of the packs that were written. */
  storedBytes: number;
  /** Snapshots whose refs were written anew. */
  snapshots: number;
}

/**
 * Throws SKEP_PRUNE_NOT_EXCLUSIVE, SKEP_UPKEEP_UNSAFE, SKEP_UPKEEP_BUSY, SKEP_COMPACT_TOO_MUCH, SKEP_REPOSITORY_FENCED, what a
 * damaged pack throws (then nothing has changed), and what the store throws.
 */
export async function compact(options: CompactOptions): Promise<CompactResult> {
  const { store, exclusive, signal } = options;
  await refuseShared(store, exclusive, signal);
  let { agree } = options;
  for (let round = 1; round <= maxRounds; round++) {
    const done = await compactOnce({ ...options, agree });
    if (done !== null) return done;
    agree = () => Promise.resolve(true);
  }
  throw new SkepError({
    code: "SKEP_UPKEEP_BUSY",
    message: `others looked after ${store.address} faster than a compaction came to its end`,
    permanent: false,
    hint: "try again when no prune and no other compaction is under way",
  });
}

/** Null where an upkeep entry came in between. */
async function compactOnce(options: CompactOptions): Promise<CompactResult | null> {
  const { store, key, incarnation, known, acceptGaps = false, signal } = options;
  const now = await readStoreClock(store, signal);
  const catalogue = await catalogueToAppend(store, key, incarnation, { signal, known, givesUp: !acceptGaps });
  const ledger = new PackLedger();
  const book = new MoveBook();
  try {
    const survey = await markNeeded(catalogue, ledger, options);
    if (!acceptGaps) refuseGaps(survey, store.address);
    const plan = planCompaction(ledger.packs(), {
      ...{ ...options.terms, now },
      maxPacks: maxListedPacks - packsOf(survey.upkeep?.retired).length,
    });
    const { packBytes, liveBytes } = plan;
    const result = { changed: false, packs: plan.packs.length, packBytes, liveBytes, storedBytes: 0, snapshots: 0 };
    if (plan.packs.length === 0 || !(await options.agree(plan))) return result;
    const storedBytes = await moveChunks(options, plan, ledger, book);
    const moved = await moveRefs(options, plan, book, survey);
    // Moving takes hours: the grace of old packs and refs counts from when it is said that they are old.
    const since = new Date(await readStoreClock(store, signal)).toISOString();
    const movedRefs = moved.map((each) => ({ ...each, since }));
    if (!(await append(options, survey, retire(survey.upkeep, plan, since), movedRefs, since))) return null;
    return { ...result, changed: true, storedBytes, snapshots: moved.length };
  } finally {
    ledger.close();
    book.close();
  }
}

async function moveChunks(
  { store, operator, signal, onProgress }: CompactOptions,
  plan: CompactPlan,
  ledger: PackLedger,
  book: MoveBook,
): Promise<number> {
  let storedBytes = 0;
  let done = 0;
  let mover = null as { writerId: string; chunks: ChunkMover } | null;
  const finish = async (): Promise<void> => {
    await mover?.chunks.finish();
    storedBytes += mover?.chunks.storedBytes ?? 0;
  };
  for (const pack of plan.packs) {
    if (mover?.writerId !== pack.writerId) {
      await finish();
      const { writerId } = pack;
      mover = { writerId, chunks: new ChunkMover({ store, operator, book, signal }, writerId) };
    }
    await mover.chunks.move(pack, ledger.neededChunks(pack.pack));
    onProgress?.("moving", ++done);
  }
  await finish();
  return storedBytes;
}

/** Written, and not said yet. */
type NewRefs = Omit<MovedRefs, "since">;

/** Writes refs for every snapshot that needs one of the packs. */
async function moveRefs(
  options: CompactOptions,
  plan: CompactPlan,
  book: MoveBook,
  survey: ChainSurvey,
): Promise<NewRefs[]> {
  const { store, key, incarnation, known, signal, onProgress } = options;
  const old = new Set(plan.packs.map(({ pack }) => pack));
  /** A run that was compacted before names its first refs still. */
  const first = new Map((survey.upkeep?.movedRefs ?? []).map(({ from, to }) => [to.key, from]));
  const looked = new Set(survey.runs.map(({ id }) => id));
  const moved: NewRefs[] = [];
  await surveyChain(await catalogueToAppend(store, key, incarnation, { signal, known }), {
    signal,
    use: async (run) => {
      if (!looked.has(run.id)) return; // came since; it keeps its refs, and what they name stays
      for (const part of run.parts) {
        if (part.refs === undefined || !(await names(options, run, part, old))) continue;
        const to = await moveRefsOf(options, run, part, { old, book });
        moved.push({ from: first.get(part.refs.key) ?? part.refs.key, to });
        onProgress?.("refs", moved.length);
      }
    },
  });
  if (moved.length + (survey.upkeep?.movedRefs ?? []).length <= maxMovedRefs) return moved;
  throw new SkepError({
    code: "SKEP_COMPACT_TOO_MUCH",
    message: `${moved.length} snapshots at ${store.address} need the packs; an upkeep entry names ${maxMovedRefs} at most`,
    permanent: true,
    hint: "nothing was changed: forget and prune first, or compact less at once with --max-bytes",
  });
}

async function* linesOf({ keys, signal }: CompactOptions, run: Run, part: Part): AsyncGenerator<PackRef> {
  if (part.refs === undefined) return;
  const { lines } = await openRefs(keys, { runId: run.id, writerId: part.nodeId, refs: part.refs }, signal);
  for await (const { line, place } of lines) yield decodePackLine(line, place);
}

async function names(options: CompactOptions, run: Run, part: Part, packs: ReadonlySet<string>): Promise<boolean> {
  for await (const { pack } of linesOf(options, run, part)) if (packs.has(pack)) return true;
  return false;
}

async function moveRefsOf(
  options: CompactOptions,
  run: Run,
  part: Part,
  { old, book }: { old: ReadonlySet<string>; book: MoveBook },
): Promise<MovedRefs["to"]> {
  const { store, operator, signal } = options;
  const { nodeId: writerId } = part;
  async function* lines(): AsyncGenerator<PackRef> {
    for await (const line of linesOf(options, run, part)) {
      if (!old.has(line.pack)) {
        yield line;
        continue;
      }
      for (const [name] of line.chunks) if (!book.want(writerId, name)) throw changedMeanwhile(name, line.pack);
    }
    yield* book.takeWanted();
  }
  const { repositoryId, epoch } = operator.repositoryObject;
  const place = { store, repositoryId, writerId, sealKey: operator.writerKeys(writerId).seal };
  const { refs } = await writeRefs(place, run.id, part.epoch ?? epoch.number, lines(), signal);
  return refs;
}

function changedMeanwhile(name: string, pack: string): SkepError {
  return new SkepError({
    code: "SKEP_REFS_INVALID",
    message: `chunk ${name} of pack ${pack} is needed now, and was not when the refs were read before`,
    permanent: true,
    hint: "nothing was changed; somebody replaces refs while they are read: check who can write to the store",
  });
}

/** The packs as retired now, beside those that are: also one that a prune retired before, for runs named it until now. */
function retire(upkeep: UpkeepEntry | null, plan: CompactPlan, since: string): PackGroup[] {
  const chosen = new Set(plan.packs.map(({ pack }) => pack));
  const others = (upkeep?.retired ?? []).map((group) => ({
    ...group,
    packs: group.packs.filter((pack) => !chosen.has(pack)),
  }));
  const groups = new Map<string, PackGroup>();
  for (const { pack, writerId } of plan.packs) {
    const group = groups.get(writerId) ?? { writerId, since, packs: [] };
    group.packs.push(pack);
    groups.set(writerId, group);
  }
  return [...groups.values(), ...others.filter(({ packs }) => packs.length > 0)];
}

/** False where another upkeep entry counts by now. */
async function append(
  options: CompactOptions,
  looked: ChainSurvey,
  retired: PackGroup[],
  moved: readonly MovedRefs[],
  writtenAt: string,
): Promise<boolean> {
  const { store, key, incarnation, known, acceptGaps = false, signal } = options;
  let survey = looked;
  for (let tries = 1; tries <= maxAppends; tries++) {
    const carried = carryOn(survey, [], writtenAt, acceptGaps);
    const again = new Set(moved.map(({ from }) => from));
    const kept = new Set(survey.runs.map(({ id }) => id));
    const movedRefs = [
      ...moved.filter(({ from }) => kept.has(runIdOfRefs(from))),
      ...carried.movedRefs.filter(({ from }) => !again.has(from)),
    ];
    const content = { ...carried, retired, movedRefs };
    if ((await appendUpkeep(options, survey.newest, content, signal)) !== null) return true;
    survey = await surveyChain(await catalogueToAppend(store, key, incarnation, { signal, known }), { signal });
    if (survey.upkeep?.sequence !== looked.upkeep?.sequence) return false;
  }
  return false;
}
