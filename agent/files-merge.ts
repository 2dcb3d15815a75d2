// Putting restored files into a folder that is in use, one rename each, and taking them out again. Nothing is ever followed:
// every folder is opened within the one before it (/proc/self/fd/N/NAME, O_NOFOLLOW), so that no link of the volume leads out of it.
//
// planMerge compares what was restored beside with what is there, changes nothing of it, and prepares the way back in `old`:
//   old/replaced/PATH   another name (hard link) of the file that is there now
//   old/made/PATH       an empty file for what is not there yet; of a folder that is made, for the folder alone
// What shall not be put in place is taken out of what was restored, so that the rest is the plan: carryMerge renames all of
// it, and does what is left of it after a crash. undoMerge goes back the same way, also from half-way: what is among the
// restored still was not put in place. It may be done again as well.
import {
  closeSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
} from "node:fs";
import { rmdirSync, rmSync, unlinkSync, writeFileSync, type BigIntStats } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import type { ExistingFiles } from "../shared/contract/chosen-files.ts";
import { SkepError } from "../shared/errors.ts";
import { readXattrs } from "../shared/system-calls.ts";
import { openedMount } from "./moment/mounts.ts";

/** Siblings on one filesystem: the living folder, what was restored, the way back, what an undo took out. */
export interface MergePaths {
  data: string;
  new: string;
  old: string;
  undone: string;
}

export interface MergePlan {
  /** Not folders, nor those below. */
  replaced: number;
  equal: number;
  left: number;
  /** Names in `made`: files, and whole folders. */
  made: number;
}

const slash = Buffer.from("/");
const namedAtMost = 10;
const here: Buffer = Buffer.from(".");
const comparedBytes = 1024 * 1024;

/** Throws SKEP_RESTORE_FILE_EXISTS, SKEP_RESTORE_FILE_IN_THE_WAY; then the living folder is as it was. */
export async function planMerge(paths: MergePaths, existing: ExistingFiles, signal: AbortSignal): Promise<MergePlan> {
  const plan: MergePlan = { replaced: 0, equal: 0, left: 0, made: 0 };
  const differing: Buffer[] = [];
  let differs = 0;
  mkdirSync(paths.old, { mode: 0o700 });
  for (const name of ["made", "replaced"]) mkdirSync(`${paths.old}/${name}`, { mode: 0o700 });

  const walk = async (fresh: number, data: number, made: number, replaced: number, path: Buffer): Promise<void> => {
    for (const name of namesIn(fresh)) {
      signal.throwIfAborted();
      const [from, to] = [within(fresh, name), within(data, name)];
      const whole = path.length === 0 ? name : Buffer.concat([path, slash, name]);
      const [restored, present] = [statOf(from), statOf(to)];
      if (restored === null) continue;
      if (present === null) {
        writeFileSync(within(made, name), "", { flag: "wx", mode: 0o600 });
        plan.made++;
      } else if (restored.isDirectory() && present.isDirectory() && !isOfAnother(to, present, restored, data)) {
        for (const folder of [made, replaced]) mkdirSync(within(folder, name), { mode: 0o700 });
        await inFolders([from, to, within(made, name), within(replaced, name)], (a, b, c, d) =>
          walk(a, b, c, d, whole),
        );
        if (namesIn(fresh, name).length === 0) rmdirSync(from);
      } else if (restored.isDirectory() || present.isDirectory() || present.dev !== restored.dev) {
        if (existing !== "skip") throw inTheWay(whole, kindOf(restored), whyNot(restored, present));
        plan.left += filesIn(from, restored);
        rmSync(from, { recursive: true });
      } else if (await isEqual(from, restored, to, present, signal)) {
        unlinkSync(from);
        plan.equal++;
      } else if (existing === "update") {
        linkOrRefuse(to, within(replaced, name), whole);
        plan.replaced++;
      } else {
        if (existing === "fail") differs++;
        if (existing === "fail" && differing.length < namedAtMost) differing.push(whole);
        unlinkSync(from);
        plan.left++;
      }
    }
  };
  const places = [paths.new, paths.data, `${paths.old}/made`, `${paths.old}/replaced`];
  await inFolders(
    places.map((place) => Buffer.from(place)),
    (fresh, data, made, replaced) => walk(fresh, data, made, replaced, Buffer.alloc(0)),
  );
  if (differs > 0) throw alreadyThere(differing, differs);
  return plan;
}

/** Whether another filesystem begins at that folder, or the same one is mounted there: nothing can be renamed into it. */
function isOfAnother(path: Buffer, present: BigIntStats, restored: BigIntStats, around: number): boolean {
  if (present.dev !== restored.dev) return true;
  const folder = openFolder(path);
  try {
    return openedMount(folder) !== openedMount(around);
  } finally {
    closeSync(folder);
  }
}

/** How many of what is restored, folders not counted. */
function filesIn(path: Buffer, found: BigIntStats | null): number {
  if (found?.isDirectory() !== true) return 1;
  const folder = openFolder(path);
  try {
    return namesIn(folder)
      .map((name) => within(folder, name))
      .reduce((sum, below) => sum + filesIn(below, statOf(below)), 0);
  } finally {
    closeSync(folder);
  }
}

/** A name that something is mounted at cannot be linked, nor replaced. */
function linkOrRefuse(present: Buffer, replaced: Buffer, path: Buffer): void {
  try {
    linkSync(present, replaced);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
    throw inTheWay(path, "a file", "something is mounted there", error);
  }
}

/** Of what planMerge left: each in place by one rename, whole or not at all. Throws SKEP_RESTORE_FILE_IN_THE_WAY where that changed since. */
export async function carryMerge(paths: MergePaths, atStep: (step: string) => void): Promise<void> {
  const walk = async (fresh: number, data: number, made: number, replaced: number, path: Buffer): Promise<void> => {
    for (const name of namesIn(fresh)) {
      const whole = path.length === 0 ? name : Buffer.concat([path, slash, name]);
      const [from, to] = [within(fresh, name), within(data, name)];
      const [restored, present] = [statOf(from), statOf(to)];
      if (restored?.isDirectory() === true && present?.isDirectory() === true) {
        for (const folder of [made, replaced]) makeFolder(within(folder, name));
        await inFolders([from, to, within(made, name), within(replaced, name)], (a, b, c, d) =>
          walk(a, b, c, d, whole),
        );
        rmdirSync(from);
        continue;
      }
      try {
        keep(present, to, within(replaced, name), within(made, name));
        renameSync(from, to);
      } catch (error) {
        throw isInTheWay(error) ? inTheWay(whole, kindOf(restored), whyNot(restored, statOf(to)), error) : error;
      }
      atStep("between two files");
    }
  };
  const places = [paths.new, paths.data, `${paths.old}/made`, `${paths.old}/replaced`];
  await inFolders(
    places.map((place) => Buffer.from(place)),
    (fresh, data, made, replaced) => walk(fresh, data, made, replaced, Buffer.alloc(0)),
  );
  rmdirSync(paths.new);
}

function isInTheWay(error: unknown): boolean {
  return ["EXDEV", "EBUSY", "EISDIR", "ENOTDIR", "ENOTEMPTY", "EEXIST"].includes(
    (error as NodeJS.ErrnoException).code ?? "",
  );
}

/** What came, came anew or went since the plan was made has its way back as well. */
function keep(present: BigIntStats | null, to: Buffer, replaced: Buffer, made: Buffer): void {
  if (present === null) {
    if (statOf(made) === null && statOf(replaced) === null) writeFileSync(made, "", { mode: 0o600 });
  } else if (!present.isDirectory() && statOf(replaced) === null) {
    linkSync(to, replaced);
    rmSync(made, { force: true });
  }
}

/** What was made goes, what was replaced comes back; what was not put in place yet stays as it is. Throws SKEP_RESTORE_FILE_IN_THE_WAY where something is now a folder, or its folder is gone. */
export async function undoMerge(paths: MergePaths, atStep: (step: string) => void): Promise<void> {
  makeFolder(Buffer.from(paths.undone));
  const walkMade = async (made: number, data: number, fresh?: number): Promise<void> => {
    for (const name of namesIn(made)) {
      const [marker, there] = [within(made, name), within(data, name)];
      const [present, pending] = [statOf(there), pendingIn(fresh, name)];
      if (statOf(marker)?.isDirectory() !== true) {
        if (pending !== null) continue;
        if (present !== null) renameSync(there, `${paths.undone}/${randomBytes(8).toString("hex")}`);
        unlinkSync(marker);
      } else if (present?.isDirectory() === true) await inFolders([marker, there, ...folderOf(pending)], walkMade);
    }
  };
  const walkReplaced = async (replaced: number, data: number, fresh?: number): Promise<void> => {
    for (const name of namesIn(replaced)) {
      const [former, there] = [within(replaced, name), within(data, name)];
      const [kept, present, pending] = [statOf(former), statOf(there), pendingIn(fresh, name)];
      if (kept?.isDirectory() !== true) {
        if (pending !== null) continue;
        if (present?.isDirectory() === true) throw inTheWay(name, kindOf(kept), whyNot(kept, present));
        renameSync(former, there);
        atStep("between two files put back");
      } else if (present?.isDirectory() === true) await inFolders([former, there, ...folderOf(pending)], walkReplaced);
      else if (await holdsReplaced(former, pending)) throw inTheWay(name, kindOf(kept), whyNot(kept, present));
    }
  };
  const fresh = Buffer.from(paths.new);
  const present = [Buffer.from(paths.data), ...(statOf(fresh) === null ? [] : [fresh])];
  if (statOf(Buffer.from(paths.old)) !== null) {
    await inFolders([Buffer.from(`${paths.old}/made`), ...present], walkMade);
    await inFolders([Buffer.from(`${paths.old}/replaced`), ...present], walkReplaced);
  }
  // In this order: what tells of what was not put in place goes last.
  for (const folder of [paths.old, paths.undone, paths.new]) rmSync(folder, { recursive: true, force: true });
}

/** Whether anything that is kept in that folder was replaced: of what was not put in place, it is there still. */
async function holdsReplaced(kept: Buffer, pending: Pending | null): Promise<boolean> {
  let isAny = false;
  const look = async (folder: number, fresh?: number): Promise<void> => {
    for (const name of namesIn(folder)) {
      const [path, waiting] = [within(folder, name), pendingIn(fresh, name)];
      if (statOf(path)?.isDirectory() === true) await inFolders([path, ...folderOf(waiting)], look);
      else isAny ||= waiting === null;
    }
  };
  await inFolders([kept, ...folderOf(pending)], look);
  return isAny;
}

/** What of the restored was not put in place. */
function pendingIn(fresh: number | undefined, name: Buffer): Pending | null {
  if (fresh === undefined) return null;
  const path = within(fresh, name);
  const found = statOf(path);
  return found === null ? null : { path, isFolder: found.isDirectory() };
}

interface Pending {
  path: Buffer;
  isFolder: boolean;
}

function folderOf(pending: Pending | null): Buffer[] {
  return pending?.isFolder === true ? [pending.path] : [];
}

/** What is at that path of a folder, links not followed. */
export function whatIsAt(folder: string, path: Buffer): "nothing" | "file" | "folder" | "other" {
  let at = openFolder(Buffer.from(folder));
  try {
    const names = path
      .toString("latin1")
      .split("/")
      .filter((name) => name !== "");
    for (const [number, text] of names.entries()) {
      const name = Buffer.from(text, "latin1");
      const found = statOf(within(at, name));
      if (found === null) return "nothing";
      if (!found.isDirectory()) return number === names.length - 1 && found.isFile() ? "file" : "other";
      const next = openFolder(within(at, name));
      closeSync(at);
      at = next;
    }
    return "folder";
  } finally {
    closeSync(at);
  }
}

/** Content, owner, mode and extended attributes; when it was changed says nothing. */
async function isEqual(
  from: Buffer,
  restored: BigIntStats,
  to: Buffer,
  present: BigIntStats,
  signal: AbortSignal,
): Promise<boolean> {
  if (restored.mode !== present.mode || restored.uid !== present.uid || restored.gid !== present.gid) return false;
  if (restored.isSymbolicLink()) return readlinkSync(from, "buffer").equals(readlinkSync(to, "buffer"));
  if (restored.rdev !== present.rdev || (restored.isFile() && restored.size !== present.size)) return false;
  const [attributes, others] = [readXattrs(from), readXattrs(to)];
  if (attributes.size !== others.size) return false;
  for (const [name, value] of attributes) if (others.get(name)?.equals(value) !== true) return false;
  return !restored.isFile() || (await hasSameContent(from, to, signal));
}

async function hasSameContent(one: Buffer, other: Buffer, signal: AbortSignal): Promise<boolean> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handles: FileHandle[] = [];
  try {
    for (const path of [one, other]) handles.push(await open(path, flags));
    const buffers = handles.map(() => Buffer.allocUnsafe(comparedBytes));
    for (let position = 0; ;) {
      signal.throwIfAborted();
      const read = await Promise.all(
        handles.map((handle, at) => fill(handle, buffers[at] ?? Buffer.alloc(0), position)),
      );
      const [mine, theirs] = buffers.map((buffer, at) => buffer.subarray(0, read[at]));
      if (mine === undefined || theirs === undefined || !mine.equals(theirs)) return false;
      if (mine.length < comparedBytes) return true;
      position += mine.length;
    }
  } finally {
    for (const handle of handles) await handle.close();
  }
}

/** Fewer bytes than the buffer has only at the file's end. */
async function fill(handle: FileHandle, buffer: Buffer, position: number): Promise<number> {
  let done = 0;
  for (;;) {
    const { bytesRead } = await handle.read(buffer, done, buffer.length - done, position + done);
    done += bytesRead;
    if (bytesRead === 0 || done === buffer.length) return done;
  }
}

async function inFolders(paths: readonly Buffer[], act: (...folders: number[]) => Promise<void>): Promise<void> {
  const folders: number[] = [];
  try {
    for (const path of paths) folders.push(openFolder(path));
    await act(...folders);
  } finally {
    folders.forEach(closeSync);
  }
}

function openFolder(path: Buffer): number {
  return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}

/** Also in the place of a mark. */
function makeFolder(path: Buffer): void {
  const found = statOf(path);
  if (found?.isDirectory() === true) return;
  if (found !== null) unlinkSync(path);
  mkdirSync(path, { mode: 0o700 });
}

function within(folder: number, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${folder}/`), name]);
}

/** `name`: of a folder in it. */
function namesIn(folder: number, name: Buffer = here): Buffer[] {
  return readdirSync(within(folder, name), { encoding: "buffer" }).sort((a, b) => Buffer.compare(a, b));
}

function statOf(path: Buffer): BigIntStats | null {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false }) ?? null;
}

function show(path: Buffer): string {
  return JSON.stringify(path.toString("utf8"));
}

function kindOf(found: BigIntStats | null): string {
  if (found === null) return "nothing";
  return found.isDirectory() ? "a folder" : found.isSymbolicLink() ? "a link" : "a file";
}

function whyNot(wanted: BigIntStats | null, present: BigIntStats | null): string {
  const isMount = wanted !== null && present !== null && wanted.isDirectory() === present.isDirectory();
  return isMount ? "another filesystem is there, or something is mounted" : `there is ${kindOf(present)} now`;
}

function inTheWay(path: Buffer, wanted: string, why: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_RESTORE_FILE_IN_THE_WAY",
    message: `${show(path)} is to be ${wanted}, and ${why}`,
    permanent: true,
    hint: "move away by hand what is there, or --existing skip; nothing was changed at that place",
    cause,
  });
}

function alreadyThere(paths: readonly Buffer[], count: number): SkepError {
  const more = count > paths.length ? `, and ${count - paths.length} more` : "";
  return new SkepError({
    code: "SKEP_RESTORE_FILE_EXISTS",
    message: `${paths.map(show).join(", ")}${more} are there and differ from the run's`,
    permanent: true,
    hint: "nothing was changed: --existing update replaces them and keeps what they were, --existing skip leaves them",
  });
}
