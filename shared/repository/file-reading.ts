// Reads the files of a volume in a pack worker, with synchronous calls into reused buffers, and notices when one is
// not what the walk saw or changes under the reading.
import { closeSync, constants, fstatSync, openSync, readlinkSync, readSync, type BigIntStats } from "node:fs";
import { withReach } from "../deep-path.ts";
import type { FileRead, FileToRead } from "./pack-worker-messages.ts";

/** True for what the file system says of a file; everything else is a fault of ours. */
export function isReadFault(error: unknown): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return code === "SKEP_NOT_THIS_FILE" || typeof syscall === "string";
}

/** What a fault says of a file, without a stack; a path that vanished is no fault of the backup. */
export function explainReadFault(error: unknown): NonNullable<FileRead["fault"]> {
  const { code, message } = error as NodeJS.ErrnoException;
  const vanished = ["ENOENT", "ENOTDIR", "ELOOP", "ENXIO", "SKEP_NOT_THIS_FILE"].includes(code ?? "");
  return { kind: vanished ? "vanished" : "unreadable", message };
}

/**
 * Opens a regular file for reading. Never follows a link at its end, never waits for a fifo's other side, and refuses
 * a path that leads elsewhere than when it was walked (a folder that became a link).
 */
export function openFile(file: FileToRead): number {
  const path = Buffer.from(file.path, "latin1");
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let descriptor: number;
  try {
    descriptor = withReach(path, (near) => openSync(near, flags | constants.O_NOATIME));
  } catch (error) {
    // O_NOATIME is for a file's owner and root.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") throw error;
    descriptor = withReach(path, (near) => openSync(near, flags));
  }
  return descriptor;
}

/** Same inode as when it was walked, or at least still that path; a regular file. */
export function checkOpened(descriptor: number, file: FileToRead, stats: BigIntStats): void {
  if (!stats.isFile()) throw notThisFile("it is no regular file any more");
  if (stats.ino === file.inode) return;
  if (!leadsTo(descriptor)?.equals(Buffer.from(file.path, "latin1"))) throw notThisFile("its path leads elsewhere now");
}

/** Null where that path is longer than the kernel tells. */
function leadsTo(descriptor: number): Buffer | null {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`, { encoding: "buffer" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENAMETOOLONG") return null;
    throw error;
  }
}

function notThisFile(why: string): Error {
  return Object.assign(new Error(why), { code: "SKEP_NOT_THIS_FILE" });
}

export function statOpened(descriptor: number): BigIntStats {
  return fstatSync(descriptor, { bigint: true });
}

export function isUnchanged(
  before: Pick<FileToRead, "mtimeNs" | "ctimeNs" | "inode"> & { sizeBytes: number },
  after: BigIntStats,
): boolean {
  return (
    BigInt(before.sizeBytes) === after.size &&
    before.mtimeNs === after.mtimeNs &&
    before.ctimeNs === after.ctimeNs &&
    before.inode === after.ino
  );
}

/** Fills target[at, at + length) from `position`; how many bytes there were. */
export function readFully(descriptor: number, target: Buffer, at: number, length: number, position: number): number {
  let read = 0;
  while (read < length) {
    const got = readSync(descriptor, target, at + read, length - read, position + read);
    if (got === 0) break;
    read += got;
  }
  return read;
}

export function closeFile(descriptor: number): void {
  closeSync(descriptor);
}

export function faultedFile(file: FileToRead, error: unknown): FileRead {
  const { mtimeNs, ctimeNs, inode } = file;
  return {
    fault: explainReadFault(error),
    sizeBytes: 0,
    mtimeNs,
    ctimeNs,
    inode,
    steady: true,
    extents: new Uint8Array(0),
    contentDigest: null,
  };
}

export function describeRead(
  stats: BigIntStats,
  sizeBytes: number,
  steady: boolean,
): Omit<FileRead, "extents" | "contentDigest"> {
  return { fault: null, sizeBytes, mtimeNs: stats.mtimeNs, ctimeNs: stats.ctimeNs, inode: stats.ino, steady };
}
