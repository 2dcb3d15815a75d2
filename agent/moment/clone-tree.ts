// A reflink copy of a volume: each file's extents are shared with a clone (FICLONE), which takes some µs and no room;
// names and attributes go into a list beside the clones. While the volume is quiet that is all that is done; the list
// is read, and the clones, when it goes on. File after file it is of no one moment: only a volume that is quiet is cloned.
//
//   FOLDER/entries   batches of walked entries, one a line (walk-messages.ts)
//   FOLDER/files/N/  clones, numbered in the order of the list, a thousand a folder
import {
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { withReach } from "../../shared/deep-path.ts";
import { pathBytes } from "../../shared/repository/path-order.ts";
import type { SourceEntries, SourceFile } from "../../shared/repository/snapshot.ts";
import { cloneFile } from "../../shared/system-calls.ts";
import { walkTree, type WalkedEntry, type WalkFindings } from "../source/tree-walk.ts";
import { pathFilter } from "../source/path-glob.ts";
import { decodeWalked, encodeWalked } from "../source/walk-messages.ts";

const filesPerFolder = 1000;
const entriesPerLine = 500;

const listOf = (folder: string): string => path.join(folder, "entries");
const foldersOf = (folder: string): string => path.join(folder, "files");
const clonePath = (folder: string, number: number): string =>
  path.join(foldersOf(folder), String(Math.floor(number / filesPerFolder)), String(number));

/** Makes ready for cloneTree. Throws where files in `folder`, which is empty, can't be cloned. */
export function prepareClones(folder: string): void {
  mkdirSync(foldersOf(folder), { mode: 0o700 });
  const probes = ["a", "b"].map((name) => path.join(folder, name)) as [string, string];
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  const [from, to] = probes.map((file) => openSync(file, flags, 0o600)) as [number, number];
  try {
    writeSync(from, Buffer.alloc(4096, 1));
    cloneFile(to, from);
  } finally {
    closeSync(from);
    closeSync(to);
    for (const file of probes) unlinkSync(file);
  }
}

/** Throws what cloning throws: EXDEV for another filesystem, EOPNOTSUPP where there are no reflinks, and a file that changed meanwhile. */
export function cloneTree(root: string, excludePaths: readonly string[], folder: string): WalkFindings {
  const findings: WalkFindings = { warnings: [], warningsLeftOut: 0, complete: true };
  const { dev } = lstatSync(root, { bigint: true });
  const rootBytes = Buffer.from(`${root}/`);
  const list = openSync(listOf(folder), constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  let files = 0;
  let batch: WalkedEntry[] = [];
  const write = (): void => {
    if (batch.length > 0) writeWhole(list, Buffer.from(`${encodeWalked(batch)}\n`));
    batch = [];
  };
  try {
    for (const entry of walkTree(root, pathFilter(excludePaths), findings)) {
      if (entry.file !== null) {
        const number = files++;
        if (number % filesPerFolder === 0)
          mkdirSync(path.dirname(clonePath(folder, number)), { recursive: true, mode: 0o700 });
        const from = Buffer.concat([rootBytes, pathBytes(entry.metadata.path, entry.metadata.pathBase64)]);
        cloneOne(from, { dev, inode: entry.file.inode }, clonePath(folder, number));
      }
      batch.push(entry);
      if (batch.length === entriesPerLine) write();
    }
    write();
  } finally {
    closeSync(list);
  }
  return findings;
}

function cloneOne(from: Buffer, expected: { dev: bigint; inode: bigint }, to: string): void {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const source = withReach(from, (near) => openSync(near, flags));
  try {
    const { ino, dev } = fstatSync(source, { bigint: true });
    if (ino !== expected.inode || dev !== expected.dev) throw new Error(`${from.toString()} is another file now`);
    const target = openSync(to, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      cloneFile(target, source);
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}

function writeWhole(descriptor: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at);
}

/** What cloneTree found, each file with its clone to be read in its place. */
export async function* clonedEntries(root: string, folder: string): SourceEntries {
  const rootBytes = Buffer.from(`${root}/`);
  let files = 0;
  for await (const line of createInterface({ input: createReadStream(listOf(folder)), crlfDelay: Infinity })) {
    for (const { metadata, file } of decodeWalked(line)) {
      if (file === null) yield { metadata, file };
      else {
        const bytes = Buffer.concat([rootBytes, pathBytes(metadata.path, metadata.pathBase64)]);
        yield { metadata, file: { ...file, path: bytes, standIn: standIn(clonePath(folder, files++)) } };
      }
    }
  }
}

function standIn(clone: string): NonNullable<SourceFile["standIn"]> {
  const { mtimeNs, ctimeNs, ino } = lstatSync(clone, { bigint: true });
  return { path: Buffer.from(clone), mtimeNs, ctimeNs, inode: ino };
}
