// The runs of the chain: how one is appended, and how they are read back with the proof that none is missing.
import { SkepError } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import type { Catalogue } from "./catalogue.ts";
import {
  catalogueToAppend,
  EntryReader,
  isFaultOfEntry,
  listSequences,
  newestEntry,
  nextSequence,
  putEntry,
  upkeepAt,
  type ChainEntry,
  type ToAppend,
} from "./chain.ts";
import type { ControllerKey } from "./controller-key.ts";
import type { OnFault } from "./foreign.ts";
import { layout } from "./layout.ts";
import { applyMovedRefs, type MovedRefs } from "./moved-refs.ts";
import type { Run } from "./run.ts";
import type { ForgottenSpan, UpkeepEntry } from "./upkeep-entry.ts";

export interface ReadRun {
  key: ObjectKey;
  run: Run;
  /** BLAKE3-256 of the object's bytes. */
  digest: string;
  /** `broken`: the entry before it, which it names, is missing or another one, and was not forgotten. */
  chain: "first" | "intact" | "broken";
}

export type NewRun = Omit<
  Run,
  "format" | "repositoryId" | "incarnation" | "sequence" | "previousDigest" | "upkeepSequence"
>;

export interface AppendRunOptions {
  signal?: AbortSignal;
  /** As ToAppend. */
  known?: ToAppend["known"];
  /**
   * The upkeep entry under which the run's objects were looked for; null: there was none. To be read (newestUpkeep)
   * before they are looked for. Absent only for a run that names no packs.
   */
  checkedUnder?: UpkeepEntry | null;
}

/**
 * Signs, seals and writes the run as the next of the chain. `incarnation` is the writer's own: where the repository
 * has another, or another controller key, it throws SKEP_REPOSITORY_FENCED and writes nothing. Throws SKEP_RUN_FENCED where
 * a prune gave the run up, SKEP_RUN_CHECK_STALE where one came after checkedUnder: look for the objects again. A run
 * that is the newest already is not written again.
 */
export async function appendRun(
  store: Store,
  key: ControllerKey,
  incarnation: number,
  run: NewRun,
  options: AppendRunOptions = {},
): Promise<Run> {
  const { signal, known, checkedUnder } = options;
  for (;;) {
    const catalogue = await catalogueToAppend(store, key, incarnation, { signal, known });
    const sequences = await listSequences(store, signal);
    const previous = await newestEntry(catalogue, sequences, signal);
    const written = await newestRunOf(catalogue, sequences, previous, signal);
    // Written before, by whoever died before he could say so.
    if (written?.id === run.id) return written;
    const upkeep = await upkeepAt(catalogue, previous, signal);
    if (upkeep?.fencedBefore != null && run.id < upkeep.fencedBefore) throw fenced(run.id, upkeep, store);
    if (checkedUnder !== undefined && checkedUnder?.sequence !== upkeep?.sequence) throw stale(run.id, store);
    const complete: Run = {
      ...run,
      format: 1,
      repositoryId: key.repositoryId,
      incarnation,
      sequence: nextSequence(sequences, previous),
      previousDigest: previous?.digest ?? null,
      upkeepSequence: upkeep?.sequence ?? null,
    };
    if (await putEntry(catalogue, key, { kind: "run", run: complete }, signal)) return complete;
  }
}

async function newestRunOf(
  catalogue: Catalogue,
  sequences: readonly number[],
  newest: ChainEntry | null,
  signal: AbortSignal | undefined,
): Promise<Run | null> {
  let entry = newest;
  while (entry?.kind === "upkeep") {
    const { sequence } = entry;
    const older = sequences.filter((each) => each < sequence);
    entry = await newestEntry(catalogue, older, signal);
  }
  return entry?.kind === "run" ? entry.run : null;
}

function fenced(runId: string, upkeep: UpkeepEntry, store: Store): SkepError {
  return new SkepError({
    code: "SKEP_RUN_FENCED",
    message: `run ${runId} can no longer be written to ${store.address}: a prune gave up what began before ${upkeep.fencedBefore ?? ""}`,
    permanent: true,
    hint: "it was under way, or suspended, for too long; the next run takes everything. Is the clock right?",
  });
}

function stale(runId: string, store: Store): SkepError {
  return new SkepError({
    code: "SKEP_RUN_CHECK_STALE",
    message: `while run ${runId} was looked through, a prune went over ${store.address}`,
    permanent: false,
    hint: "its objects are to be looked for again; that is tried by itself",
  });
}

export interface ReadRunsOptions {
  signal?: AbortSignal;
  /**
   * Told of each object under runs/ that does not open or is not signed, also where it was put over an entry whose first
   * version counts; without it these throw.
   */
  onFault?: OnFault;
  /** Told in the place of onFault where the entry counts all the same. */
  onCovered?: OnFault;
}

export type ReadEntry = ChainEntry & { chain: ReadRun["chain"] };

/** Newest first, what was forgotten left out, with the refs that count since a compaction. Each is opened, its signature checked, and its link to the one before it. */
export async function* readChain(catalogue: Catalogue, options: ReadRunsOptions = {}): AsyncGenerator<ReadEntry> {
  const { signal, onFault, onCovered = onFault } = options;
  const sequences = await listSequences(catalogue.store, signal);
  const throwFault = (fault: SkepError): void => {
    throw fault;
  };
  const reader = new EntryReader(catalogue, onCovered ?? throwFault, signal);
  // The newest upkeep entry speaks for all before it.
  let spans: readonly ForgottenSpan[] | null = null;
  let moved: ReadonlyMap<string, MovedRefs> = new Map();
  let newer: ChainEntry | null = null;
  for (const sequence of sequences.reverse()) {
    if (spans !== null && isForgotten(spans, sequence)) continue;
    let entry: ChainEntry | null;
    try {
      entry = await reader.read(sequence);
    } catch (error) {
      if (onFault === undefined || !isFaultOfEntry(error)) throw error;
      onFault(error, layout.run(sequence));
      continue;
    }
    if (entry === null) continue;
    if (newer !== null) yield link(newer, entry, spans);
    newer = entry.kind === "run" ? { ...entry, run: applyMovedRefs(entry.run, moved) } : entry;
    if (entry.kind !== "upkeep" || spans !== null) continue;
    spans = entry.upkeep.forgotten;
    moved = new Map(entry.upkeep.movedRefs.map((each) => [each.from, each]));
  }
  if (newer !== null) yield link(newer, null, spans);
}

/** The runs of readChain. */
export async function* readRuns(catalogue: Catalogue, options: ReadRunsOptions = {}): AsyncGenerator<ReadRun> {
  for await (const entry of readChain(catalogue, options)) {
    const { key, digest, chain } = entry;
    if (entry.kind === "run") yield { key, run: entry.run, digest, chain };
  }
}

/** By run id, or the newest; null where there is none. */
export async function readRun(
  catalogue: Catalogue,
  id: string,
  options: ReadRunsOptions = {},
): Promise<ReadRun | null> {
  for await (const found of readRuns(catalogue, options)) {
    if (id === "latest" || found.run.id === id) return found;
  }
  return null;
}

export function isForgotten(spans: readonly ForgottenSpan[], sequence: number): boolean {
  return spans.some(({ first, last }) => first <= sequence && sequence <= last);
}

function link(newer: ChainEntry, older: ChainEntry | null, spans: readonly ForgottenSpan[] | null): ReadEntry {
  const span = spans?.find(({ digest }) => digest === newer.previousDigest);
  const previousDigest = span === undefined ? newer.previousDigest : span.previousDigest;
  if (newer.previousDigest === null) return { ...newer, chain: "first" };
  const intact = previousDigest === null ? older === null : previousDigest === older?.digest;
  return { ...newer, chain: intact ? "intact" : "broken" };
}
