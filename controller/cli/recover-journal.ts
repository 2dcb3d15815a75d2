// Which journal a recovery goes on with. Named by --journal, or recovery-RUN in the folder where one is; a newer run may have
// come since, so without a name the unfinished journal of this very inventory and mode is looked for, and its run is taken.
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import { Journal, type RecoveryMode } from "../recovery/journal.ts";

export interface JournalOptions {
  run: string;
  mode: RecoveryMode;
  journal?: string;
}

export interface ChosenJournal {
  /** Of one run, or "latest". */
  runId: string;
  /** Null: recovery-RUN, once it is known which run it is. */
  folder: string | null;
}

const prefix = "recovery-";

/** `place`: the folder in which one is looked for. Throws SKEP_RECOVERY_JOURNAL_INVALID for a journal that was named. */
export async function chooseJournal(
  { run, mode, journal }: JournalOptions,
  inventoryDigest: string,
  place = ".",
): Promise<ChosenJournal> {
  if (journal !== undefined) {
    const folder = resolve(journal);
    return { folder, runId: run === "latest" ? (Journal.headIn(folder)?.runId ?? run) : run };
  }
  if (run !== "latest") return { folder: null, runId: run };
  const begun = (await readdir(place, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory() && entry.name.startsWith(prefix))
    .flatMap(({ name }) => unfinished(resolve(place, name)))
    .filter(({ head }) => head.mode === mode && head.inventoryDigest === inventoryDigest)
    .sort((a, b) => (a.head.startedAt < b.head.startedAt ? 1 : -1));
  const [newest] = begun;
  return newest === undefined ? { folder: null, runId: run } : { folder: newest.folder, runId: newest.head.runId };
}

export function journalFolderOf({ folder }: ChosenJournal, runId: string): string {
  return folder ?? resolve(`${prefix}${runId}`);
}

function unfinished(folder: string): { folder: string; head: NonNullable<ReturnType<typeof Journal.headIn>> }[] {
  try {
    const head = Journal.headIn(folder);
    // The report is written once every step is done.
    return head === null || existsSync(join(folder, "report.json")) ? [] : [{ folder, head }];
  } catch (error) {
    // Somebody else's, or of another version: whoever means it names it.
    if (error instanceof SkepError) return [];
    throw error;
  }
}
