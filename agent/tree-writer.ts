// Writes the tree of a manifest into an empty folder.
//
// A manifest is data from outside: none of its paths leads out of the folder. An entry is only ever made in the
// folder that the entries before it made, through that folder's open handle (/proc/self/fd/N/NAME), never through a
// path from the root; names are single segments; nothing that exists is opened or replaced. Owner comes before mode
// (chown clears setuid), and a folder's mode and time are set when the last entry in it is done.
import { execFile } from "node:child_process";
import {
  chmod,
  constants,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  open,
  rename,
  symlink,
  type FileHandle,
} from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { SkepError } from "../shared/errors.ts";
import { Digester } from "../shared/repository/blake3.ts";
import type { ManifestEntry } from "../shared/repository/manifest.ts";
import type { ContentPiece } from "../shared/repository/open/snapshot-reader.ts";
import type { Warning } from "../shared/repository/run.ts";

const run = promisify(execFile);

export interface TreeSource<E extends ManifestEntry> {
  entries: AsyncIterable<E>;
  /** The content of a file, in order, exactly its sizeBytes; zero bytes that become a hole as their number. */
  pieces: (entry: E) => AsyncIterable<ContentPiece>;
}

export interface WrittenTree {
  files: number;
  directories: number;
  others: number;
  restoredBytes: number;
  warnings: Warning[];
}

interface Folder {
  /** Relative to the root; empty for the root itself. */
  path: Buffer;
  handle: FileHandle;
  entry: ManifestEntry;
}

const slash = Buffer.from("/");
const largestReadBytes = 4 * 1024 * 1024;

/**
 * `root` exists and is empty. Every file is read back and compared with what was written. Throws SKEP_MANIFEST_INVALID for
 * a path that leads out or a parent that is not there, SKEP_RESTORE_NO_SPACE, SKEP_RESTORE_NOT_VERIFIED, and the
 * signal's reason.
 */
export async function writeTree<E extends ManifestEntry>(
  root: string,
  source: TreeSource<E>,
  signal: AbortSignal,
  onProgress: (done: { bytes: number; files: number }) => void,
): Promise<WrittenTree> {
  const tree: WrittenTree = { files: 0, directories: 0, others: 0, restoredBytes: 0, warnings: [] };
  const stack: Folder[] = [];
  const leave = async (): Promise<void> => {
    const folder = stack.pop();
    if (folder === undefined) return;
    try {
      await finish(folder.handle, folder.entry);
    } finally {
      await folder.handle.close();
    }
  };
  try {
    for await (const entry of source.entries) {
      signal.throwIfAborted();
      const path = bytesOf(entry, "path");
      if (path.length === 0) {
        if (stack.length > 0 || entry.type !== "directory") throw invalid(path, "is a second root");
        const handle = await openFolder(root);
        stack.push({ path, handle, entry });
        continue;
      }
      const parentEnd = path.lastIndexOf(slash);
      if (parentEnd === 0) throw invalid(path, "is absolute");
      const parent = path.subarray(0, Math.max(0, parentEnd));
      while (stack.length > 1 && stack.at(-1)?.path.equals(parent) === false) await leave();
      const folder = stack.at(-1);
      if (!folder?.path.equals(parent)) throw invalid(path, "lies in a folder that is not in the manifest before it");
      const name = path.subarray(parentEnd + 1);
      checkName(name, path);
      const here = Buffer.concat([Buffer.from(`/proc/self/fd/${folder.handle.fd}/`), name]);
      if (entry.type === "directory") {
        await mkdir(here, 0o700);
        stack.push({ path, handle: await openFolder(here), entry });
        tree.directories++;
      } else if (hasField(entry, "hardLinkTo")) {
        await linkTo(root, bytesOf(entry, "hardLinkTo"), here, path);
        tree.files++;
      } else if (entry.type === "file") {
        tree.restoredBytes += await writeFile(here, path, entry, source.pieces(entry), signal, (bytes) => {
          onProgress({ bytes: tree.restoredBytes + bytes, files: tree.files });
        });
        tree.files++;
      } else {
        await writeOther(here, folder.handle.fd, entry);
        tree.others++;
      }
      if (entry.xattrs !== undefined) {
        warn(tree, "SKEP_RESTORE_XATTRS_LEFT_OUT", `the extended attributes of ${show(path)} were not restored`);
      }
      onProgress({ bytes: tree.restoredBytes, files: tree.files });
    }
    if (stack.length === 0) throw invalid(Buffer.alloc(0), "is missing: the manifest has no root");
    while (stack.length > 0) await leave();
    return tree;
  } catch (error) {
    for (const { handle } of stack) await handle.close();
    throw toRestoreError(error, root);
  }
}

function warn(tree: WrittenTree, code: Warning["code"], message: string): void {
  if (tree.warnings.length < 1000) tree.warnings.push({ code, message });
}

/** ENOSPC and EDQUOT as SKEP_RESTORE_NO_SPACE; everything else as it is. */
export function toRestoreError(thrown: unknown, place: string): unknown {
  const { code } = thrown as NodeJS.ErrnoException;
  if (code !== "ENOSPC" && code !== "EDQUOT") return thrown;
  return new SkepError({
    code: "SKEP_RESTORE_NO_SPACE",
    message: `no space is left for the restore beside the volume, in ${place} (${code})`,
    permanent: true,
    hint: "free space on that disk, or restore to another node (--to-node); the volume itself was not touched",
    cause: thrown,
  });
}

function openFolder(path: string | Buffer): Promise<FileHandle> {
  return open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}

/** Owner, mode and times of an open file or folder. */
async function finish(handle: FileHandle, entry: ManifestEntry): Promise<void> {
  await handle.chown(entry.uid, entry.gid);
  await handle.chmod(entry.mode);
  const seconds = secondsOf(entry.mtimeNs);
  await handle.utimes(seconds, seconds);
}

/** As a number: Node takes no more than a double's precision, about 0.25 µs today. */
function secondsOf(mtimeNs: string): number {
  return Number(BigInt(mtimeNs)) / 1e9;
}

async function writeFile(
  here: Buffer,
  path: Buffer,
  entry: ManifestEntry,
  pieces: AsyncIterable<ContentPiece>,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<number> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const handle = await open(here, flags, 0o600);
  try {
    const written = new Digester();
    let at = 0;
    for await (const piece of pieces) {
      signal.throwIfAborted();
      if ("zeroBytes" in piece) {
        digestZeros(written, piece.zeroBytes);
        at += piece.zeroBytes;
      } else {
        written.update(piece.bytes);
        at = await writeAt(handle, piece.bytes, at);
      }
      onBytes(at);
    }
    if (at !== (entry.sizeBytes ?? 0)) {
      throw invalid(path, `has ${at} bytes of content, not the ${entry.sizeBytes ?? 0} that it names`);
    }
    // A hole at the end is only made by the size.
    await handle.truncate(at);
    await verify(handle, path, at, written.hex());
    await finish(handle, entry);
    return at;
  } finally {
    await handle.close();
  }
}

/** Where the bytes end in the file. */
async function writeAt(handle: FileHandle, bytes: Uint8Array, at: number): Promise<number> {
  for (let done = 0; done < bytes.length;) {
    done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
  }
  return at + bytes.length;
}

const zeros = Buffer.alloc(64 * 1024);

function digestZeros(digester: Digester, count: number): void {
  for (let left = count; left > 0; left -= zeros.length)
    digester.update(zeros.subarray(0, Math.min(left, zeros.length)));
}

async function verify(handle: FileHandle, path: Buffer, sizeBytes: number, expected: string): Promise<void> {
  const read = new Digester();
  const buffer = Buffer.allocUnsafe(Math.min(largestReadBytes, Math.max(1, sizeBytes)));
  for (let at = 0; at < sizeBytes;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) break;
    read.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  if (read.hex() === expected) return;
  throw new SkepError({
    code: "SKEP_RESTORE_NOT_VERIFIED",
    message: `${show(path)} read back differs from what was written`,
    permanent: false,
    hint: "the disk or its filesystem does not keep what is written: check its log",
  });
}

async function linkTo(root: string, target: Buffer, here: Buffer, path: Buffer): Promise<void> {
  for (const segment of split(target)) checkName(segment, path);
  const from = Buffer.concat([Buffer.from(`${root}/`), target]);
  const found = await lstat(from).catch(() => null);
  if (found === null || found.isDirectory()) throw invalid(path, "is another name of a file that is not there");
  await link(from, here);
}

function split(path: Buffer): Buffer[] {
  const segments: Buffer[] = [];
  let start = 0;
  for (let end = path.indexOf(slash); end !== -1; end = path.indexOf(slash, start)) {
    segments.push(path.subarray(start, end));
    start = end + 1;
  }
  segments.push(path.subarray(start));
  return segments;
}

/** Symlinks, fifos and devices. */
async function writeOther(here: Buffer, folderFd: number, entry: ManifestEntry): Promise<void> {
  if (entry.type === "symlink") {
    await symlink(bytesOf(entry, "linkTarget"), here);
    await lchown(here, entry.uid, entry.gid);
  } else {
    // Node has no mknod(2). The program gets a name of our choice through our own folder handle; then it is renamed.
    const name = `.skep-${randomBytes(8).toString("hex")}`;
    const [major, minor] = entry.device ?? [0, 0];
    const kind = { fifo: "p", "character-device": "c", "block-device": "b" }[entry.type as string] ?? "p";
    const numbers = kind === "p" ? [] : [String(major), String(minor)];
    await run("mknod", [`/proc/${process.pid}/fd/${folderFd}/${name}`, kind, ...numbers]);
    await rename(Buffer.from(`/proc/self/fd/${folderFd}/${name}`), here);
    await lchown(here, entry.uid, entry.gid);
    await chmod(here, entry.mode);
  }
  const seconds = secondsOf(entry.mtimeNs);
  await lutimes(here, seconds, seconds);
}

type BytesField = "path" | "hardLinkTo" | "linkTarget";

function hasField(entry: ManifestEntry, field: BytesField): boolean {
  return entry[field] !== undefined || entry[`${field}Base64`] !== undefined;
}

function bytesOf(entry: ManifestEntry, field: BytesField): Buffer {
  const text = entry[field];
  if (text !== undefined) return Buffer.from(text, "utf8");
  const base64 = entry[`${field}Base64`];
  if (base64 !== undefined) return Buffer.from(base64, "base64");
  throw invalid(Buffer.from(entry.path ?? entry.pathBase64 ?? ""), `has no ${field}`);
}

/** A name is one segment: nothing that leads up, or elsewhere. */
function checkName(name: Buffer, path: Buffer): void {
  const text = name.toString("latin1");
  if (text === "" || text === "." || text === ".." || /[/\0]/.test(text))
    throw invalid(path, "leads out of its folder");
}

function invalid(path: Buffer, why: string): SkepError {
  return new SkepError({
    code: "SKEP_MANIFEST_INVALID",
    message: `the manifest's entry ${show(path)} ${why}`,
    permanent: true,
    hint: "this manifest was not written by Skep: do not restore it, and find out who wrote to the store",
  });
}

function show(path: Buffer): string {
  return JSON.stringify(path.toString("utf8"));
}
