// Restoring a volume: beside the present content, verified, then exchanged for it; the former content is kept until
// it is discarded, and comes back with undo. What must not happen to a volume in use does not begin.
import { execFile } from "node:child_process";
import { constants, lstat, mkdir, open, readdir, rm, statfs } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { SkepError } from "../shared/errors.ts";
import type { RestoreKeys, TaskOf, TaskResultOf } from "../shared/contract/job.ts";
import { openSnapshot } from "../shared/repository/open/snapshot-reader.ts";
import type { VolumeFacts, Warning } from "../shared/repository/run.ts";
import type { AgentContext, Attempt } from "./context.ts";
import type { Docker } from "./docker.ts";
import type { Volume } from "./docker-objects.ts";
import { resolveHostPath } from "./host-path.ts";
import type { Journal } from "./journal.ts";
import type { RestoreKeyring } from "./restore-keys.ts";
import { isRedacted, volumeKind } from "./source/volume-kind.ts";
import { toRestoreError, writeTree } from "./tree-writer.ts";
import { discardOld, dropNew, readSwap, recoverSwap, swapBack, swapIn, swapPaths, writeSwap } from "./volume-swap.ts";
import type { SwapRecord } from "./volume-swap.ts";
import { refuseWhileUsed, volumeUsers } from "./volume-use.ts";

const run = promisify(execFile);

/** Left free for folders, inodes and the filesystem's own reserve: 64 MiB and a twentieth of what is restored. */
function neededBytes(sourceBytes: number): number {
  return sourceBytes + 64 * 1024 * 1024 + Math.ceil(sourceBytes / 20);
}

export async function prepareRestore(
  task: TaskOf<"restore-prepare">,
  context: AgentContext,
  keyring: RestoreKeyring,
  attempt: Attempt,
): Promise<TaskResultOf<"restore-prepare">> {
  const { docker } = context;
  const existing = await docker.volume(task.targetName, attempt.signal);
  await planTarget(task, existing, context);
  const freeBytes = await freeBytesFor(existing, context, attempt.signal);
  refuseWithoutSpace(task.sourceBytes, freeBytes, task.targetName);
  return {
    kind: "restore-prepare",
    recipient: await keyring.recipient(task.restoreId, Date.now()),
    target: existing === null ? "missing" : "exists",
    freeBytes,
    usedBy: existing === null ? [] : await volumeUsers(docker, task.targetName, attempt.signal),
  };
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
  const { docker, store, repositoryId } = context;
  const { journal, keyring } = tools;
  const { signal } = attempt;
  const keys = tools.identityKeys ?? (await keyring.open(task.restoreId, task.sealedKeys));
  await settleEarlier(task, journal);
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
    state: "filling",
  });
  const beside = swapPaths(record).new;
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
      { entries: snapshot.entries(), pieces: (entry) => snapshot.pieces(entry) },
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
    throw toRestoreError(error, folder);
  }
}

/** A former attempt at this restore that ended half-way is taken back; one that is in place is not done twice. */
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
  const record = await wholeSwap(task.restoreId, journal);
  await refuseWhileUsed(context.docker, record.volume, attempt.signal);
  if (record.madeVolume) {
    await context.docker.removeVolume(record.volume, attempt.signal);
    journal.removeSwap(record.restoreId);
  } else await swapBack(journal, record);
  return { kind: "restore-undo", volume: record.volume };
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

interface TargetPlan {
  /** How the volume is made where it is missing. */
  create: { driver: string; options: Record<string, string>; labels: Record<string, string> };
  warnings: Warning[];
}

/** Throws SKEP_RESTORE_TARGET_UNSUPPORTED where the target can't be restored to safely. */
async function planTarget(
  task: { volume: VolumeFacts; targetName: string },
  existing: Volume | null,
  context: AgentContext,
): Promise<TargetPlan> {
  const { volume: facts, targetName } = task;
  const refuse = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_RESTORE_TARGET_UNSUPPORTED",
      message: `volume ${targetName} ${why}`,
      permanent: true,
      hint: "restore to a new volume name: --as NEWNAME",
    });
  if (existing !== null) {
    if (volumeKind(existing).kind !== "plain") {
      throw refuse(`is of driver ${existing.Driver} with its own mount: its folder cannot be exchanged`);
    }
    const data = await lstat(await hostParent(context, existing.Mountpoint)).catch(() => null);
    if (data?.isDirectory() !== true) throw refuse("has no folder of its own at its mount point");
    return { create: { driver: "local", options: {}, labels: {} }, warnings: [] };
  }
  const plain = volumeKind({ Driver: facts.driver, Options: facts.options }).kind === "plain";
  if (plain && !isRedacted(facts)) {
    return { create: { driver: facts.driver, options: facts.options, labels: facts.labels }, warnings: [] };
  }
  if (targetName === facts.name) {
    throw refuse(`was of driver ${facts.driver} with its own mount, and is not defined on this node`);
  }
  // The same options under another name would be the same share or device: the live data would be written over.
  return {
    create: { driver: "local", options: {}, labels: facts.labels },
    warnings: [
      {
        code: "SKEP_RESTORE_DRIVER_DROPPED",
        message: `${targetName} is a plain local volume; ${facts.name} was of driver ${facts.driver} with options of its own`,
      },
    ],
  };
}

/** The mount point with its parents' links followed, but not its own. */
async function hostParent(context: AgentContext, mountpoint: string): Promise<string> {
  return path.join(await resolveHostPath(context.hostRoot, path.dirname(mountpoint)), path.basename(mountpoint));
}

async function freeBytesFor(existing: Volume | null, context: AgentContext, signal: AbortSignal): Promise<number> {
  const hostFolder =
    existing === null
      ? path.join((await context.docker.info(signal)).DockerRootDir, "volumes")
      : path.dirname(existing.Mountpoint);
  const { bavail, bsize } = await statfs(await resolveHostPath(context.hostRoot, hostFolder));
  return bavail * bsize;
}

function refuseWithoutSpace(sourceBytes: number, freeBytes: number, volume: string): void {
  const needed = neededBytes(sourceBytes);
  if (freeBytes >= needed) return;
  throw new SkepError({
    code: "SKEP_RESTORE_NO_SPACE",
    message: `restoring beside volume ${volume} needs ${needed} bytes, ${freeBytes} are free`,
    permanent: true,
    hint: "free space on that disk, or restore to another node: --to-node",
  });
}

/** Puts the tree on disk: syncfs(2), by sync(1), once for all files; where that program can't, file by file. */
async function flushTree(folder: string): Promise<void> {
  try {
    await run("sync", ["-f", folder]);
  } catch {
    await flushEach(Buffer.from(folder));
  }
}

async function flushEach(folder: Buffer): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true, encoding: "buffer" })) {
    const here = Buffer.concat([folder, Buffer.from("/"), entry.name]);
    if (entry.isDirectory()) await flushEach(here);
    else if (entry.isFile()) await flushOne(here);
  }
  await flushOne(folder);
}

async function flushOne(path: Buffer): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Allocated bytes below a folder; 0 where it is not there. */
async function treeBytes(folder: Buffer): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, encoding: "buffer" })) {
    const here = Buffer.concat([folder, Buffer.from("/"), entry.name]);
    bytes += entry.isDirectory() ? await treeBytes(here) : (await lstat(here)).blocks * 512;
  }
  return bytes;
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
