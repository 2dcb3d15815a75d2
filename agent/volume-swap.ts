// Exchanging a volume's folder for a restored one, and back: two renames on one filesystem, each step written down
// before it is taken. Whatever was going on when the agent died, recoverSwap finishes it or takes it back, and the
// volume is whole: the old content until the first rename, then the new one.
//
// All folders are siblings within the volume's own folder (…/volumes/NAME/):
//   _data                  what containers mount
//   _data.skep-new-ID      is filled, not yet in place
//   _data.skep-old-ID      the former content, kept until discard
//   _data.skep-undone-ID   restored content that an undo took out, on its way to removal
import { lstat, rename, rm, rmdir } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { SkepError } from "../shared/errors.ts";
import type { ExistingFiles } from "../shared/contract/chosen-files.ts";
import { restoreIdSchema, volumeNameSchema } from "../shared/contract/job.ts";
import { signedSchema } from "../shared/repository/signature.ts";
import { flushFolder } from "../shared/store/durable-file.ts";
import { flushTree } from "../shared/tree/tree-disk.ts";
import { toRestoreError } from "../shared/tree/tree-writer.ts";
import { carryMerge, planMerge, undoMerge, type MergePlan } from "./files-merge.ts";
import type { Journal } from "./journal.ts";

export const swapRecordSchema = z.strictObject({
  restoreId: restoreIdSchema,
  volume: volumeNameSchema,
  /** The volume's own folder, in this process's view. */
  folder: z.string().startsWith("/"),
  /** The volume was made for this restore: taking it back removes it. */
  madeVolume: z.boolean(),
  /** Files were put into the volume's folder, which stayed: what they replaced is kept in `old` (files-merge.ts). */
  merge: z.literal(true).optional(),
  /** The controller's signed order, for one that lost it; a restore without a controller has none. */
  order: signedSchema.optional(),
  state: z.enum(["filling", "swapping", "swapped", "undoing", "discarding"]),
});
export type SwapRecord = z.infer<typeof swapRecordSchema>;

/** Told before each step that a crash could part from the next; tests die in it. */
export type AtStep = (step: string) => void;
const noStep: AtStep = () => undefined;

export function swapPaths(
  record: Pick<SwapRecord, "folder" | "restoreId">,
): Record<"data" | "new" | "old" | "undone", string> {
  const at = (name: string): string => path.join(record.folder, name);
  return {
    data: at("_data"),
    new: at(`_data.skep-new-${record.restoreId}`),
    old: at(`_data.skep-old-${record.restoreId}`),
    undone: at(`_data.skep-undone-${record.restoreId}`),
  };
}

/** Null where there is none. */
export function readSwap(journal: Journal, restoreId: string): SwapRecord | null {
  const text = journal.swap(restoreId);
  return text === null ? null : swapRecordSchema.parse(JSON.parse(text));
}

/** In the order in which they began. */
export function readSwaps(journal: Journal): SwapRecord[] {
  return journal.swaps().map((text) => swapRecordSchema.parse(JSON.parse(text)));
}

export function writeSwap(journal: Journal, record: SwapRecord): SwapRecord {
  journal.putSwap(record.restoreId, JSON.stringify(record));
  return record;
}

/** Puts the filled folder in the data folder's place. The filled one must be on disk already. */
export async function swapIn(journal: Journal, record: SwapRecord, atStep: AtStep = noStep): Promise<SwapRecord> {
  const paths = swapPaths(record);
  atStep("before the journal says swapping");
  writeSwap(journal, { ...record, state: "swapping" });
  atStep("before the old content is set aside");
  await rename(paths.data, paths.old);
  await flushFolder(record.folder);
  atStep("between the two renames");
  await rename(paths.new, paths.data);
  await flushFolder(record.folder);
  atStep("before the journal says swapped");
  return writeSwap(journal, { ...record, state: "swapped" });
}

/** The inverse: the former content comes back, the restored one is removed. */
export async function swapBack(journal: Journal, record: SwapRecord, atStep: AtStep = noStep): Promise<void> {
  const paths = swapPaths(record);
  writeSwap(journal, { ...record, state: "undoing" });
  atStep("before the restored content is set aside");
  await rename(paths.data, paths.undone);
  await flushFolder(record.folder);
  atStep("between the two renames back");
  await rename(paths.old, paths.data);
  await flushFolder(record.folder);
  atStep("before the restored content is removed");
  await rm(paths.undone, { recursive: true, force: true });
  journal.removeSwap(record.restoreId);
}

/** Removes the former content. */
export async function discardOld(journal: Journal, record: SwapRecord, atStep: AtStep = noStep): Promise<void> {
  writeSwap(journal, { ...record, state: "discarding" });
  atStep("before the old content is removed");
  await rm(swapPaths(record).old, { recursive: true, force: true });
  journal.removeSwap(record.restoreId);
}

/** Gives up a restore that is not yet in place. */
export async function dropNew(journal: Journal, record: SwapRecord): Promise<void> {
  const paths = swapPaths(record);
  await rm(paths.new, { recursive: true, force: true });
  if (record.merge === true) await rm(paths.old, { recursive: true, force: true });
  journal.removeSwap(record.restoreId);
}

/**
 * Puts what was restored beside into the volume's folder, file by file. The restored must be on disk already. Throws what planMerge
 * and finishMerge throw, and then nothing has changed; null for the record where nothing was to be put in place.
 */
export async function mergeIn(
  journal: Journal,
  record: SwapRecord,
  existing: ExistingFiles,
  signal: AbortSignal,
  atStep: AtStep = noStep,
): Promise<{ record: SwapRecord | null; plan: MergePlan }> {
  const paths = swapPaths(record);
  const plan = await planMerge(paths, existing, signal);
  if (plan.made === 0 && plan.replaced === 0) {
    await dropNew(journal, record);
    return { record: null, plan };
  }
  await flushTree(paths.old);
  atStep("before the journal says swapping");
  const begun = writeSwap(journal, { ...record, state: "swapping" });
  atStep("before files are put in place");
  return { record: await finishMerge(journal, begun, atStep), plan };
}

/** What can't be finished is taken back. Throws why; SKEP_SWAP_STUCK where that can't be done either. */
async function finishMerge(journal: Journal, record: SwapRecord, atStep: AtStep = noStep): Promise<SwapRecord> {
  const paths = swapPaths(record);
  try {
    if (await isThere(paths.new)) await carryMerge(paths, atStep);
    await flushTree(paths.data);
  } catch (error) {
    await mergeBack(journal, record).catch((another: unknown) => {
      throw stuckMerge(record, new AggregateError([error, another], `${messageOf(error)}; then ${messageOf(another)}`));
    });
    throw toRestoreError(error, record.folder);
  }
  atStep("before the journal says swapped");
  return writeSwap(journal, { ...record, state: "swapped" });
}

/** The inverse: what was replaced comes back, what was made goes. Throws what undoMerge throws, SKEP_SWAP_STUCK; then it may be tried again. */
export async function mergeBack(journal: Journal, record: SwapRecord, atStep: AtStep = noStep): Promise<void> {
  const paths = swapPaths(record);
  writeSwap(journal, { ...record, state: "undoing" });
  atStep("before files are put back");
  try {
    await undoMerge(paths, atStep);
    await flushTree(paths.data);
  } catch (error) {
    throw error instanceof SkepError ? error : stuckMerge(record, error);
  }
  journal.removeSwap(record.restoreId);
}

function stuckMerge({ restoreId, volume, folder }: SwapRecord, cause: unknown): SkepError {
  return new SkepError({
    code: "SKEP_SWAP_STUCK",
    message: `the files that restore ${restoreId} put into volume ${volume} could not all be taken out again: ${messageOf(cause)}`,
    permanent: true,
    hint: `remove that cause: the agent's next start goes on; what they replaced is kept in ${folder}/_data.skep-old-${restoreId}`,
    cause,
  });
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Throws what finishMerge and mergeBack throw; where that is not SKEP_SWAP_STUCK, nothing is left of the restore. */
async function recoverMerge(journal: Journal, record: SwapRecord): Promise<Recovery> {
  switch (record.state) {
    case "filling":
      await dropNew(journal, record);
      return "taken back";
    case "swapping":
      await finishMerge(journal, record);
      return "in place";
    case "swapped":
      return "in place";
    case "undoing":
      await mergeBack(journal, record);
      return "taken back";
    case "discarding":
      await discardOld(journal, record);
      return "discarded";
  }
}

export type Recovery =
  /** The restore is in place, the old content is kept. */
  | "in place"
  /** The old content is in place, nothing is left of the restore. */
  | "taken back"
  /** In place, and the old content was removed as had been asked. */
  | "discarded";

/**
 * Brings one swap that a crash interrupted to a whole state; does nothing to one that is whole. Throws
 * SKEP_SWAP_STUCK, having changed nothing, where the folders are not as any crash would leave them.
 */
export async function recoverSwap(journal: Journal, record: SwapRecord): Promise<Recovery> {
  if (record.merge === true) return await recoverMerge(journal, record);
  const paths = swapPaths(record);
  const [data, fresh, old, undone] = await Promise.all([
    isThere(paths.data),
    isThere(paths.new),
    isThere(paths.old),
    isThere(paths.undone),
  ]);
  const stuck = (): SkepError =>
    new SkepError({
      code: "SKEP_SWAP_STUCK",
      message: `the restore ${record.restoreId} of volume ${record.volume} was interrupted while ${record.state}, and ${record.folder} is not as that would leave it`,
      permanent: true,
      hint: `look into ${record.folder}: _data is what containers see, _data.skep-old-* the former content; put the right one in place by hand`,
    });
  switch (record.state) {
    case "filling":
      await dropNew(journal, record);
      return "taken back";
    case "swapping": {
      if (!old) {
        if (!data) throw stuck();
        await dropNew(journal, record);
        return "taken back";
      }
      if (fresh) {
        // Docker may have made an empty folder where the volume's was missing.
        if (data) await rmdir(paths.data).catch(() => Promise.reject(stuck()));
        await rename(paths.new, paths.data);
        await flushFolder(record.folder);
      } else if (!data) throw stuck();
      writeSwap(journal, { ...record, state: "swapped" });
      return "in place";
    }
    case "swapped":
      return "in place";
    case "undoing": {
      if (old && !undone) {
        if (!data) throw stuck();
        writeSwap(journal, { ...record, state: "swapped" });
        return "in place";
      }
      if (old) {
        if (data) await rmdir(paths.data).catch(() => Promise.reject(stuck()));
        await rename(paths.old, paths.data);
        await flushFolder(record.folder);
      } else if (!data) throw stuck();
      await rm(paths.undone, { recursive: true, force: true });
      journal.removeSwap(record.restoreId);
      return "taken back";
    }
    case "discarding":
      await discardOld(journal, record);
      return "discarded";
  }
}

async function isThere(file: string): Promise<boolean> {
  try {
    await lstat(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
