// Writes an upkeep entry, if the chain is still as it was when the entry was thought out.
import { skepVersion } from "../../version.ts";
import type { Store } from "../../store/store.ts";
import { catalogueToAppend, listSequences, newestEntry, nextSequence, putEntry, type ToAppend } from "../chain.ts";
import type { ControllerKey } from "../controller-key.ts";
import type { UpkeepEntry } from "../upkeep-entry.ts";

export type UpkeepContent = Pick<
  UpkeepEntry,
  "writtenAt" | "forgotten" | "forgottenRuns" | "fencedBefore" | "retired" | "doomed" | "movedRefs"
>;

/** Who may append: the controller, or the CLI with its key. */
export interface Appender {
  store: Store;
  key: ControllerKey;
  /** The writer's own; where the repository has another, nothing is written (SKEP_REPOSITORY_FENCED). */
  incarnation: number;
  /** As ToAppend. */
  known?: ToAppend["known"];
}

/** `after`: number of the newest entry that was looked at, 0 for none. Null where another came after it: look again. */
export async function appendUpkeep(
  { store, key, incarnation, known }: Appender,
  after: number,
  content: UpkeepContent,
  signal?: AbortSignal,
): Promise<UpkeepEntry | null> {
  const catalogue = await catalogueToAppend(store, key, incarnation, { signal, known });
  const sequences = await listSequences(store, signal);
  const newest = await newestEntry(catalogue, sequences, signal);
  if ((newest?.sequence ?? 0) !== after) return null;
  const upkeep: UpkeepEntry = {
    format: 1,
    repositoryId: key.repositoryId,
    incarnation,
    sequence: nextSequence(sequences, newest),
    previousDigest: newest?.digest ?? null,
    skepVersion,
    ...content,
  };
  return (await putEntry(catalogue, key, { kind: "upkeep", upkeep }, signal)) ? upkeep : null;
}
