// Restoring a volume: beside the present content, verified, then exchanged for it; the former content is kept until
// it is discarded, and comes back with undo. What must not happen to a volume in use does not begin.
import { mkdir, rm } from "node:fs/promises";
import path from "node:path";
import { SkepError } from "../shared/errors.ts";
import type { ChosenFiles } from "../shared/contract/chosen-files.ts";
import type { RestoreKeys, TaskOf } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { openSnapshot } from "../shared/repository/open/snapshot-reader.ts";
import { openStore } from "../shared/store/open.ts";
import type { AgentContext, Attempt } from "./context.ts";
import type { Docker } from "./docker.ts";
import type { Volume } from "./docker-objects.ts";
import { whatIsAt } from "./files-merge.ts";
import { resolveHostPath } from "./host-path.ts";
import type { Journal } from "./journal.ts";
import type { RestoreKeyring } from "./restore-keys.ts";
import { whereToLoad } from "./restore-load.ts";
import { freeBytesFor, planTarget, refuseWithoutSpace } from "./restore-target.ts";
import { flushTree, treeBytes } from "../shared/tree/tree-disk.ts";
import { toRestoreError, writeTree } from "../shared/tree/tree-writer.ts";
import {
  discardOld,
  dropNew,
  mergeBack,
  readSwap,
  readSwaps,
  recoverSwap,
  swapBack,
  swapIn,
  swapPaths,
  writeSwap,
} from "./volume-swap.ts";
import type { SwapRecord } from "./volume-swap.ts";
import { refuseWhileUsed, volumeUsers } from "./volume-use.ts";

export async function prepareRestore(
  task: TaskOf<"restore-prepare">,
  context: AgentContext,
  keyring: RestoreKeyring,
  attempt: Attempt,
): Promise<TaskResultOf<"restore-prepare">> {
  const { docker } = context;
  const existing = await docker.volume(task.targetName, attempt.signal);
  if (task.files !== undefined) refuseMissing(existing, task.targetName);
  const loadsIn = task.load === undefined ? null : await whereToLoad(task.load, context, attempt.signal);
  const freeBytes = await freeBytesFor(existing, context, attempt.signal);
  if (loadsIn === null) {
    await planTarget(task, existing, context);
    refuseWithoutSpace(task.sourceBytes, freeBytes, task.targetName);
  }
  return {
    kind: "restore-prepare",
    recipient: await keyring.recipient(task.restoreId, Date.now()),
    target: existing === null ? "missing" : "exists",
    freeBytes,
    usedBy: existing === null ? [] : await volumeUsers(docker, task.targetName, attempt.signal),
    ...(loadsIn === null ? {} : { loadsIn }),
    ...(task.files !== undefined && existing !== null && { there: await lookAt(task.files, existing, context) }),
  };
}

/** What is at each of the chosen paths. */
async function lookAt(
  { paths }: ChosenFiles,
  { Mountpoint }: Volume,
  context: AgentContext,
): Promise<TaskResultOf<"restore-prepare">["there"]> {
  const data = await resolveHostPath(context.hostRoot, Mountpoint);
  return paths.map((path) => whatIsAt(data, Buffer.from(path, "base64")));
}

/** Files are put into what is there. Throws SKEP_RESTORE_VOLUME_MISSING. */
export function refuseMissing(existing: Volume | null, name: string): asserts existing is Volume {
  if (existing !== null) return;
  throw new SkepError({
    code: "SKEP_RESTORE_VOLUME_MISSING",
    message: `there is no volume ${name} on this node to put files into`,
    permanent: true,
    hint: "bring the whole volume back: `skep restore volume`",
  });
}

export interface RestoreTools {
  journal: Journal;
  keyring: RestoreKeyring;
  /** Given where the job came on standard input: its keys in clear. */
  identityKeys: RestoreKeys | null;
}

export async function restoreVolume(
  task: TaskOf<"restore-volume">,
  context: AgentContext,
  tools: RestoreTools,
  attempt: Attempt,
): Promise<TaskResultOf<"restore-volume">> {
  const { docker, repositoryId } = context;
  const { journal, keyring } = tools;
  const { signal } = attempt;
  const keys = await openKeys(task, tools);
  const existing = await docker.volume(task.targetName, signal);
  const plan = await planTarget(task, existing, context);
  await refuseWhileUsed(docker, task.targetName, signal);
  refuseWithoutSpace(task.sourceBytes, await freeBytesFor(existing, context, signal), task.targetName);

  const volume = existing ?? (await docker.createVolume({ name: task.targetName, ...plan.create }, signal));
  const folder = path.dirname(await resolveHostPath(context.hostRoot, volume.Mountpoint));
  let record: SwapRecord = writeSwap(journal, {
    restoreId: task.restoreId,
    volume: task.targetName,
    folder,
    madeVolume: existing === null,
    ...(task.order !== undefined && { order: task.order }),
    state: "filling",
  });
  const beside = swapPaths(record).new;
  const { readCredentials } = keys;
  const store = readCredentials === undefined ? context.store : openStore(context.storeLocation, readCredentials);
  try {
    await mkdir(beside, { mode: 0o700 });
    const snapshot = await openSnapshot({
      store,
      repositoryId,
      writerId: task.writerId,
      manifest: task.manifest,
      refs: task.refs,
      keys,
      signal,
    });
    const tree = await writeTree(
      beside,
      { entries: snapshot.entries(), pieces: (entry) => snapshot.writablePieces(entry) },
      signal,
      ({ bytes, files }) => {
        attempt.onProgress({ phase: "restore", doneBytes: bytes, totalBytes: task.sourceBytes, doneFiles: files });
      },
    ).finally(() => {
      snapshot.close();
    });
    attempt.onProgress({
      phase: "flush",
      doneBytes: tree.restoredBytes,
      totalBytes: task.sourceBytes,
      doneFiles: tree.files,
    });
    await flushTree(beside);
    signal.throwIfAborted();
    await refuseWhileUsed(docker, task.targetName, signal);
    record = await swapIn(journal, record);
    // What Docker made of a new volume is an empty folder: nothing to keep.
    if (record.madeVolume) await rm(swapPaths(record).old, { recursive: true, force: true });
    keyring.forget(task.restoreId);
    const { files, directories, restoredBytes } = tree;
    const warnings = [...plan.warnings, ...tree.warnings].slice(0, 1000);
    return {
      kind: "restore-volume",
      files,
      directories,
      restoredBytes,
      keptOld: existing !== null,
      warnings,
    };
  } catch (error) {
    if (record.state === "filling") await giveUp(record, context, journal);
    throw mayNotRead(error, readCredentials !== undefined) ?? toRestoreError(error, folder);
  } finally {
    if (store !== context.store) await store.close();
  }
}

/** Null for any other failure. Agents are best given credentials that create and cannot read back. */
export function mayNotRead(error: unknown, wereGiven: boolean): SkepError | null {
  if (!(error instanceof SkepError) || error.code !== "SKEP_STORE_DENIED" || wereGiven) return null;
  return new SkepError({
    code: error.code,
    message: error.message,
    permanent: true,
    hint: "where the agents' credentials may only create, name ones that may read: --read-credentials FILE",
    cause: error,
  });
}

/** A former attempt at this restore that ended half-way is taken back; one that is in place is not done twice. */
export async function openKeys(
  task: TaskOf<"restore-volume">,
  { identityKeys, keyring, journal }: RestoreTools,
): Promise<RestoreKeys> {
  const keys = identityKeys ?? (await keyring.open(task.restoreId, task.sealedKeys));
  await settleEarlier(task, journal);
  return keys;
}

async function settleEarlier(task: TaskOf<"restore-volume">, journal: Journal): Promise<void> {
  const earlier = readSwap(journal, task.restoreId);
  if (earlier === null) return;
  if ((await recoverSwap(journal, earlier)) !== "in place") return;
  throw new SkepError({
    code: "SKEP_RESTORE_DONE_BEFORE",
    message: `restore ${task.restoreId} of volume ${earlier.volume} is in place already`,
    permanent: true,
    hint: "`skep restore undo` takes it back, `skep restore discard` removes the former content",
  });
}

async function giveUp(record: SwapRecord, context: AgentContext, journal: Journal): Promise<void> {
  await dropNew(journal, record);
  if (record.madeVolume) await context.docker.removeVolume(record.volume);
}

export async function undoRestore(
  task: TaskOf<"restore-undo">,
  context: AgentContext,
  journal: Journal,
  attempt: Attempt,
): Promise<TaskResultOf<"restore-undo">> {
  const begun = readSwap(journal, task.restoreId);
  // An undo that something was in the way of goes on.
  const isUndoing = begun?.merge === true && begun.state === "undoing";
  const record = isUndoing ? begun : await wholeSwap(task.restoreId, journal);
  if (!isUndoing) refuseBelowNewer(record, journal);
  if (record.merge === true) {
    await mergeBack(journal, record);
    return { kind: "restore-undo", volume: record.volume };
  }
  await refuseWhileUsed(context.docker, record.volume, attempt.signal);
  if (record.madeVolume) {
    await context.docker.removeVolume(record.volume, attempt.signal);
    journal.removeSwap(record.restoreId);
  } else await swapBack(journal, record);
  return { kind: "restore-undo", volume: record.volume };
}

/**
 * What a later restore of the same volume found is what this one left: taken back below it, its content would go, and its own
 * undo would bring back what is no more. Throws SKEP_RESTORE_NEWER.
 */
function refuseBelowNewer({ restoreId, volume }: SwapRecord, journal: Journal): void {
  const inPlace = readSwaps(journal).filter((each) => each.volume === volume && touchedVolume.has(each.state));
  const newest = inPlace.at(-1);
  if (newest === undefined || newest.restoreId === restoreId) return;
  throw new SkepError({
    code: "SKEP_RESTORE_NEWER",
    message: `restore ${newest.restoreId} changed volume ${volume} after restore ${restoreId}`,
    permanent: true,
    hint: `restores of a volume are undone from the newest back: undo ${newest.restoreId} first, or discard it to keep what it brought`,
  });
}
const touchedVolume: ReadonlySet<SwapRecord["state"]> = new Set(["swapping", "swapped", "undoing"]);

/** Most that one answer holds. */
const listedRestores = 1000;

/** Those in place whose former content is kept. */
export async function listRestores(journal: Journal): Promise<TaskResultOf<"restore-list">> {
  const whole = readSwaps(journal).filter(({ state }) => state === "swapped");
  const restores = whole.slice(-listedRestores).map(({ restoreId, volume, order }) => {
    return { restoreId, volume, order: order ?? null };
  });
  return Promise.resolve({ kind: "restore-list", restores });
}

export async function discardRestore(
  task: TaskOf<"restore-discard">,
  journal: Journal,
): Promise<TaskResultOf<"restore-discard">> {
  const record = await wholeSwap(task.restoreId, journal);
  const freedBytes = record.madeVolume ? 0 : await treeBytes(Buffer.from(swapPaths(record).old));
  await discardOld(journal, record);
  return { kind: "restore-discard", volume: record.volume, freedBytes };
}

async function wholeSwap(restoreId: string, journal: Journal): Promise<SwapRecord> {
  const record = readSwap(journal, restoreId);
  if (record !== null && (await recoverSwap(journal, record)) === "in place") return record;
  throw new SkepError({
    code: "SKEP_RESTORE_UNKNOWN",
    message: `there is no restore ${restoreId} on this node whose former content is kept`,
    permanent: true,
    hint: "it was undone or discarded before, or another node carried it out",
  });
}

/** At the agent's start: brings every restore that a crash interrupted to a whole state, and says what it did. */
export async function recoverRestores(
  records: readonly SwapRecord[],
  docker: Docker,
  journal: Journal,
): Promise<{ record: SwapRecord; outcome: string }[]> {
  const done: { record: SwapRecord; outcome: string }[] = [];
  for (const record of records) {
    if (record.state === "swapped") continue;
    const outcome = await recoverSwap(journal, record);
    if (outcome === "taken back" && record.madeVolume) await docker.removeVolume(record.volume);
    done.push({ record, outcome });
  }
  return done;
}
