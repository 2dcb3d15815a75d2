// Writes the tree of a manifest into an empty folder.
//
// A manifest is data from outside: none of its paths leads out of the folder. An entry is only ever made in the
// folder that the entries before it made, through that folder's open handle (/proc/self/fd/N/NAME), never through a
// path from the root; names are single segments; nothing that exists is opened or replaced. Entries are made in order;
// the content of some files is under way at once. A folder's metadata is set when the last entry in it is made.
import { closeSync, constants, linkSync, lstatSync, mkdirSync, openSync, symlinkSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { SkepError } from "../errors.ts";
import { withReach } from "../deep-path.ts";
import type { ManifestEntry } from "../repository/manifest.ts";
import { lengthOf, type ContentPiece, type WritablePiece } from "../repository/open/snapshot-reader.ts";
import type { Warning } from "../repository/run.ts";
import { makeNode } from "../system-calls.ts";
import { setMetadata, setMetadataAt } from "./entry-metadata.ts";
import { FileWriter } from "./file-writer.ts";

export interface TreeSource<E extends ManifestEntry> {
  entries: AsyncIterable<E>;
  /** The content of a file, in order, exactly its sizeBytes; zero bytes that become a hole as their number. */
  pieces: (entry: E) => AsyncIterable<ContentPiece | WritablePiece>;
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
  descriptor: number;
  entry: ManifestEntry;
}

const slash = Buffer.from("/");
/** Each holds a chunk of up to 4 MiB. */
const filesAtOnce = 8;
const turnMs = 8;
const maxWarnings = 1000;

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
  const writer = new TreeWriter(root, source, signal, onProgress);
  try {
    return await writer.write();
  } catch (error) {
    throw toRestoreError(error, root);
  } finally {
    await writer.close();
  }
}

class TreeWriter<E extends ManifestEntry> {
  readonly #root: string;
  readonly #source: TreeSource<E>;
  readonly #signal: AbortSignal;
  readonly #onProgress: (done: { bytes: number; files: number }) => void;
  readonly #tree: WrittenTree = { files: 0, directories: 0, others: 0, restoredBytes: 0, warnings: [] };
  readonly #stack: Folder[] = [];
  /** Files whose content is under way. They never reject: the first failure is kept. */
  readonly #filling = new Set<Promise<void>>();
  #failure: { error: unknown } | null = null;
  #turnStartedAt = performance.now();

  constructor(
    root: string,
    source: TreeSource<E>,
    signal: AbortSignal,
    onProgress: (done: { bytes: number; files: number }) => void,
  ) {
    this.#root = root;
    this.#source = source;
    this.#signal = signal;
    this.#onProgress = onProgress;
  }

  async write(): Promise<WrittenTree> {
    for await (const entry of this.#source.entries) {
      this.#check();
      await this.#add(entry);
      this.#report();
      await this.#giveTurn();
    }
    if (this.#stack.length === 0) throw invalid(Buffer.alloc(0), "is missing: the manifest has no root");
    while (this.#stack.length > 0) this.#leave();
    await Promise.all(this.#filling);
    this.#check();
    return this.#tree;
  }

  /** Waits for what is under way, whatever became of it. */
  async close(): Promise<void> {
    this.#failure ??= { error: new Error("the tree was closed") };
    for (const { descriptor } of this.#stack) closeSync(descriptor);
    await Promise.all(this.#filling);
  }

  #check(): void {
    this.#signal.throwIfAborted();
    if (this.#failure !== null) throw this.#failure.error;
  }

  async #add(entry: E): Promise<void> {
    const path = bytesOf(entry, "path");
    if (path.length === 0) {
      if (this.#stack.length > 0 || entry.type !== "directory") throw invalid(path, "is a second root");
      this.#stack.push({ path, descriptor: openFolder(this.#root), entry });
      return;
    }
    const here = this.#place(path);
    if (entry.type === "directory") {
      mkdirSync(here, 0o700);
      this.#stack.push({ path, descriptor: openFolder(here), entry });
      this.#tree.directories++;
    } else if (hasField(entry, "hardLinkTo")) {
      linkTo(this.#root, bytesOf(entry, "hardLinkTo"), here, path);
      this.#tree.files++;
    } else if (entry.type === "file") {
      await this.#addFile(here, path, entry);
      this.#tree.files++;
    } else {
      writeOther(here, entry);
      setMetadataAt(here, entry, this.#leftOut(path));
      this.#tree.others++;
    }
  }

  /** Where the entry is made: in the open folder that its path names. */
  #place(path: Buffer): Buffer {
    const parentEnd = path.lastIndexOf(slash);
    if (parentEnd === 0) throw invalid(path, "is absolute");
    const parent = path.subarray(0, Math.max(0, parentEnd));
    while (this.#stack.length > 1 && this.#stack.at(-1)?.path.equals(parent) === false) this.#leave();
    const folder = this.#stack.at(-1);
    if (!folder?.path.equals(parent)) throw invalid(path, "lies in a folder that is not in the manifest before it");
    const name = path.subarray(parentEnd + 1);
    checkName(name, path);
    return Buffer.concat([Buffer.from(`/proc/self/fd/${folder.descriptor}/`), name]);
  }

  #leave(): void {
    const folder = this.#stack.pop();
    if (folder === undefined) return;
    try {
      setMetadata(folder.descriptor, folder.entry, this.#leftOut(folder.path));
    } finally {
      closeSync(folder.descriptor);
    }
  }

  /** Makes the file at once, and fills it while the next entries are made. */
  async #addFile(here: Buffer, path: Buffer, entry: E): Promise<void> {
    while (this.#filling.size >= filesAtOnce) await Promise.race(this.#filling);
    this.#check();
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const descriptor = openSync(here, flags, 0o600);
    const filling = this.#fill(descriptor, path, entry)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        closeSync(descriptor);
        this.#filling.delete(filling);
      });
    this.#filling.add(filling);
  }

  async #fill(descriptor: number, path: Buffer, entry: E): Promise<void> {
    const file = new FileWriter(descriptor, () => show(path));
    const sizeBytes = entry.sizeBytes ?? 0;
    for await (const piece of this.#source.pieces(entry)) {
      this.#check();
      await file.write(piece);
      this.#tree.restoredBytes += lengthOf(piece);
      this.#report();
    }
    if (file.sizeBytes !== sizeBytes) {
      throw invalid(path, `has ${file.sizeBytes} bytes of content, not the ${sizeBytes} that it names`);
    }
    file.end();
    setMetadata(descriptor, entry, this.#leftOut(path));
  }

  #leftOut(path: Buffer): (what: string) => void {
    return (what) => {
      if (this.#tree.warnings.length >= maxWarnings) return;
      const message = `the extended attribute ${what} of ${show(path)} could not be set`;
      this.#tree.warnings.push({ code: "SKEP_RESTORE_XATTRS_LEFT_OUT", message });
    };
  }

  #report(): void {
    this.#onProgress({ bytes: this.#tree.restoredBytes, files: this.#tree.files });
  }

  async #giveTurn(): Promise<void> {
    if (performance.now() - this.#turnStartedAt < turnMs) return;
    await nextTurn();
    this.#turnStartedAt = performance.now();
  }
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

function openFolder(path: string | Buffer): number {
  return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}

function linkTo(root: string, target: Buffer, here: Buffer, path: Buffer): void {
  for (const segment of split(target)) checkName(segment, path);
  withReach(Buffer.concat([Buffer.from(`${root}/`), target]), (from) => {
    const found = lstatSync(from, { throwIfNoEntry: false });
    if (found?.isDirectory() !== false) throw invalid(path, "is another name of a file that is not there");
    linkSync(from, here);
  });
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

const nodeTypes = { fifo: constants.S_IFIFO, "character-device": constants.S_IFCHR, "block-device": constants.S_IFBLK };

/** Symlinks, fifos and devices. */
function writeOther(here: Buffer, entry: ManifestEntry): void {
  if (entry.type === "symlink") symlinkSync(bytesOf(entry, "linkTarget"), here);
  else makeNode(here, 0o600 | nodeTypes[entry.type as keyof typeof nodeTypes], entry.device ?? [0, 0]);
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
