// Restoring chosen files and folders into a volume that lives on: all of it is restored beside and verified first, then
// each file is put in place by one rename. What was replaced is kept until it is discarded, and comes back with undo.
// The volume may be in use: whoever has a file open goes on with the one that he opened.
import { mkdir } from "node:fs/promises";
import path from "node:path";
import type { ChosenFiles } from "../shared/contract/chosen-files.ts";
import type { TaskOf } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { SkepError } from "../shared/errors.ts";
import type { ManifestEntry } from "../shared/repository/manifest.ts";
import { entriesBelow, readSubtree } from "../shared/repository/open/subtree.ts";
import { openSnapshot, type Snapshot, type SnapshotEntry } from "../shared/repository/open/snapshot-reader.ts";
import { pathBytes, sortKeyOf } from "../shared/repository/path-order.ts";
import { openStore } from "../shared/store/open.ts";
import { flushTree } from "../shared/tree/tree-disk.ts";
import { toRestoreError, writeTree } from "../shared/tree/tree-writer.ts";
import type { AgentContext, Attempt } from "./context.ts";
import { resolveHostPath } from "./host-path.ts";
import { mayNotRead, openKeys, refuseMissing, type RestoreTools } from "./restore.ts";
import { freeBytesFor, planTarget, refuseWithoutSpace } from "./restore-target.ts";
import { dropNew, mergeIn, readSwap, swapPaths, writeSwap } from "./volume-swap.ts";

/** Throws as restoreVolume, and SKEP_RESTORE_VOLUME_MISSING, SKEP_PATH_UNKNOWN, SKEP_RESTORE_FILE_EXISTS, SKEP_RESTORE_FILE_IN_THE_WAY. */
export async function restoreFiles(
  task: TaskOf<"restore-volume"> & { files: ChosenFiles },
  context: AgentContext,
  tools: RestoreTools,
  attempt: Attempt,
): Promise<TaskResultOf<"restore-volume">> {
  const { docker, repositoryId } = context;
  const { journal, keyring } = tools;
  const { signal } = attempt;
  const keys = await openKeys(task, tools);
  const volume = await docker.volume(task.targetName, signal);
  refuseMissing(volume, task.targetName);
  await planTarget(task, volume, context);
  refuseWithoutSpace(task.sourceBytes, await freeBytesFor(volume, context, signal), task.targetName);

  const folder = path.dirname(await resolveHostPath(context.hostRoot, volume.Mountpoint));
  const record = writeSwap(journal, {
    restoreId: task.restoreId,
    volume: task.targetName,
    folder,
    madeVolume: false,
    merge: true,
    ...(task.order !== undefined && { order: task.order }),
    state: "filling",
  });
  const beside = swapPaths(record).new;
  const { readCredentials } = keys;
  const store = readCredentials === undefined ? context.store : openStore(context.storeLocation, readCredentials);
  try {
    await mkdir(beside, { mode: 0o700 });
    const source = { store, repositoryId, writerId: task.writerId, manifest: task.manifest, refs: task.refs };
    const snapshot = await openSnapshot({ ...source, keys, signal });
    const tree = await writeTree<ChosenEntry>(
      beside,
      {
        entries: chosenEntries(snapshot, task.files),
        pieces: (entry) => snapshot.writablePieces(entry.source),
      },
      signal,
      ({ bytes, files }) => {
        attempt.onProgress({ phase: "restore", doneBytes: bytes, totalBytes: task.sourceBytes, doneFiles: files });
      },
    ).finally(() => {
      snapshot.close();
    });
    const { files, directories, others, restoredBytes, warnings } = tree;
    attempt.onProgress({
      ...{ phase: "flush", doneBytes: restoredBytes, totalBytes: task.sourceBytes, doneFiles: files },
    });
    await flushTree(beside);
    signal.throwIfAborted();
    const merged = await mergeIn(journal, record, task.files.existing, signal);
    keyring.forget(task.restoreId);
    const { replaced, equal, left } = merged.plan;
    return {
      ...{ kind: "restore-volume", files, directories, restoredBytes, keptOld: merged.record !== null, warnings },
      merged: { made: files + others - replaced - equal - left, replaced, equal, left },
    };
  } catch (error) {
    // One that is begun is finished or taken back: by the agent's next start, if by nobody before.
    if (readSwap(journal, task.restoreId)?.state === "filling") await dropNew(journal, record);
    throw mayNotRead(error, readCredentials !== undefined) ?? toRestoreError(error, folder);
  } finally {
    if (store !== context.store) await store.close();
  }
}

type ChosenEntry = ManifestEntry & { source: SnapshotEntry };

/** The chosen with all that is below them, each after the folders that lead to it. In path order, each once. Throws SKEP_PATH_UNKNOWN. */
async function* chosenEntries(snapshot: Snapshot, { paths }: ChosenFiles): AsyncGenerator<ChosenEntry> {
  const given = new Set<string>();
  for (const chosen of outermost(paths.map((text) => Buffer.from(text, "base64")))) {
    for (const folder of foldersTo(chosen)) {
      const key = folder.toString("latin1");
      if (given.has(key)) continue;
      given.add(key);
      yield await entryAt(snapshot, folder);
    }
    let isThere = false;
    for await (const { path: here, entry: source, linkTo } of readSubtree(snapshot, chosen)) {
      isThere = true;
      const entry: ChosenEntry = { ...source, pathBase64: here.toString("base64"), source };
      delete entry.path;
      delete entry.hardLinkTo;
      delete entry.hardLinkToBase64;
      yield linkTo === null ? entry : { ...entry, hardLinkToBase64: linkTo.toString("base64") };
    }
    if (!isThere) throw pathUnknown(chosen, snapshot);
  }
}

/** Without those that lie within another, in the order of the manifest. */
function outermost(paths: readonly Buffer[]): Buffer[] {
  const inOrder = (chosen: Buffer): Buffer => sortKeyOf({ pathBase64: chosen.toString("base64") });
  const sorted = paths.toSorted((a, b) => Buffer.compare(inOrder(a), inOrder(b)));
  const kept: Buffer[] = [];
  for (const each of sorted) {
    const last = kept.at(-1);
    const isWithin =
      last !== undefined &&
      (last.length === 0 ||
        each.equals(last) ||
        each.subarray(0, last.length + 1).equals(Buffer.concat([last, slash])));
    if (!isWithin) kept.push(each);
  }
  return kept;
}

const slash = Buffer.from("/");

/** Of `a/b/c`: the root, `a`, `a/b`. None of the root itself. */
function foldersTo(chosen: Buffer): Buffer[] {
  if (chosen.length === 0) return [];
  const folders: Buffer[] = [Buffer.alloc(0)];
  for (let at = chosen.indexOf(slash); at >= 0; at = chosen.indexOf(slash, at + 1))
    folders.push(chosen.subarray(0, at));
  return folders;
}

async function entryAt(snapshot: Snapshot, folder: Buffer): Promise<ChosenEntry> {
  for await (const source of entriesBelow(snapshot, folder)) {
    if (pathBytes(source.path, source.pathBase64).equals(folder)) return { ...source, source };
    break;
  }
  throw pathUnknown(folder, snapshot);
}

function pathUnknown(chosen: Buffer, { root }: Snapshot): SkepError {
  return new SkepError({
    code: "SKEP_PATH_UNKNOWN",
    message: `there was no ${JSON.stringify(chosen.toString("utf8"))} in volume ${root.volume} at run ${root.runId}`,
    permanent: true,
    hint: "paths begin at the volume's root: `skep ls RUN:NODE/VOLUME` shows it",
  });
}
