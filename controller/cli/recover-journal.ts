// Which journal a recovery goes on with. Named by --journal, or recovery-RUN in the folder where one is; a newer run may have
// come since, so without a name the unfinished journal of this very inventory and mode is looked for, and its run is taken.
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import { Journal, type JournalHead, type RecoveryMode } from "../recovery/journal.ts";

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
  /** Of one that was found, not named: the operator is told of it. */
  found: JournalHead | null;
}

const prefix = "recovery-";
/** One that was begun longer ago may be of a drill, and its machines made anew since. */
const foundWithinMs = 24 * 3_600_000;

/**
 * `recovery`: what a journal that is looked for must belong to; `now` in ms since 1970; `place`: the folder in which one is
 * looked for. Throws SKEP_RECOVERY_JOURNAL_INVALID for a journal that was named, SKEP_RECOVERY_JOURNAL_OLD for one that must
 * be.
 */
export async function chooseJournal(
  { run, mode, journal }: JournalOptions,
  recovery: Pick<JournalHead, "inventoryDigest" | "repositoryId">,
  now: number,
  place = ".",
): Promise<ChosenJournal> {
  if (journal !== undefined) {
    const folder = resolve(journal);
    return { folder, runId: run === "latest" ? (Journal.headIn(folder)?.runId ?? run) : run, found: null };
  }
  if (run !== "latest") return { folder: null, runId: run, found: null };
  const begun = (await readdir(place, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory() && entry.name.startsWith(prefix))
    .flatMap(({ name }) => unfinished(resolve(place, name)))
    .filter(({ head }) => head.mode === mode && head.inventoryDigest === recovery.inventoryDigest)
    .filter(({ head }) => head.repositoryId === recovery.repositoryId)
    .sort((a, b) => (a.head.startedAt < b.head.startedAt ? 1 : -1));
  const [newest] = begun;
  if (newest === undefined) return { folder: null, runId: run, found: null };
  const { folder, head } = newest;
  if (now - Date.parse(head.startedAt) <= foundWithinMs) return { folder, runId: head.runId, found: head };
  throw new SkepError({
    code: "SKEP_RECOVERY_JOURNAL_OLD",
    message: `${folder} is the journal of a recovery that began at ${head.startedAt} from run ${head.runId} and did not end`,
    permanent: true,
    hint: `--journal ${folder} goes on with it; --journal of another folder begins anew`,
  });
}

export function journalFolderOf({ folder }: ChosenJournal, runId: string): string {
  return folder ?? resolve(`${prefix}${runId}`);
}

function unfinished(folder: string): { folder: string; head: JournalHead }[] {
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
