// The single steps of keeping a file safely: written and read in slices, flushed, looked for without following links.
import { constants, type Stats } from "node:fs";
import { lstat, mkdir, open, unlink, type FileHandle } from "node:fs/promises";
import { SkepError } from "../errors.ts";
import { errnoCode } from "./directory-errors.ts";

/** Bytes read or written between two looks at the abort signal. */
const sliceBytes = 4 * 1024 * 1024;

/** The buffer itself goes to the kernel, uncopied. */
export async function writeSlices(file: FileHandle, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
  let doneBytes = 0;
  while (doneBytes < bytes.byteLength) {
    signal?.throwIfAborted();
    const length = Math.min(sliceBytes, bytes.byteLength - doneBytes);
    doneBytes += (await file.write(bytes, doneBytes, length, doneBytes)).bytesWritten;
  }
}

/** Bytes [start, end) of an open file, at the beginning of `into`; SKEP_STORE_CORRUPT, naming it, where it ends before. */
export async function readSlices(
  file: FileHandle,
  name: string,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
  into: Uint8Array = Buffer.allocUnsafeSlow(end - start),
): Promise<Uint8Array> {
  const bytes = into.subarray(0, end - start);
  let doneBytes = 0;
  while (doneBytes < bytes.length) {
    signal?.throwIfAborted();
    const length = Math.min(sliceBytes, bytes.length - doneBytes);
    const { bytesRead } = await file.read(bytes, doneBytes, length, start + doneBytes);
    if (bytesRead === 0) throw cutShort(name, start + doneBytes, end);
    doneBytes += bytesRead;
  }
  return bytes;
}

/** Puts the names in a folder on disk. */
export async function flushFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

export async function mkdirIfMissing(path: string): Promise<void> {
  try {
    await mkdir(path, 0o700);
  } catch (error) {
    if (errnoCode(error) !== "EEXIST") throw error;
  }
}

export async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (errnoCode(error) !== "ENOENT") throw error;
  }
}

export async function lstatIfThere(path: string): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return null;
    throw error;
  }
}

function cutShort(name: string, at: number, end: number): SkepError {
  return new SkepError({
    code: "SKEP_STORE_CORRUPT",
    message: `${name} ended at byte ${at}, was expected to reach ${end}`,
    permanent: false,
  });
}
