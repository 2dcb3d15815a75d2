// Reads small files, which share chunks: one after the other into a buffer that becomes a chunk when its length and
// the content of the last file say so. A file lies whole within one chunk. Content that was seen before, under
// whatever name, is not gathered again.
import type { BigIntStats } from "node:fs";
import { findData, findHole } from "../system-calls.ts";
import { keyedDigestBytes } from "./blake3.ts";
import { countZeros, minChunkBytes } from "./chunker.ts";
import type { ChunkSink } from "./chunk-sink.ts";
import { extentRecordBytes, readExtentRecords, writeExtentRecord } from "./extent-records.ts";
import {
  checkOpened,
  closeFile,
  describeRead,
  faultedFile,
  isReadFault,
  isUnchanged,
  openFile,
  readFully,
  statOpened,
} from "./file-reading.ts";
import type { KeyBytes } from "./keys.ts";
import type { KnownChunks } from "./known-chunks.ts";
import type { FileRead, FileToRead } from "./pack-worker-messages.ts";
import { minHoleBytes, readSegment } from "./segment-reader.ts";

/** A file below this shares chunks with others. */
export const smallFileBytes = minChunkBytes;
/** A shared chunk is cut after the file that takes it over this, at the latest. */
const maxGatheredBytes = 2 * 1024 * 1024;
/** Of this length a file, once the chunk is long enough, cuts always; a shorter one in proportion. */
const surelyCutBytes = 512 * 1024;
const maxRecentContents = 32_768;
/** To remember a shorter content beyond this takes more room and time than to store it again where it moves. */
const minRememberedBytes = 1024;

interface Gathered {
  /** Where it goes once the chunk has its name. */
  record: Buffer;
  offset: number;
  length: number;
}

export class SmallFileReader {
  readonly #key: KeyBytes;
  readonly #known: KnownChunks | null;
  readonly #sink: ChunkSink;
  readonly #buffer: Buffer;
  #used = 0;
  #gathered: Gathered[] = [];
  #mustCut = false;
  /** Content digest → extent records that are, or will be, filled. */
  #recent = new Map<string, Buffer>();

  /** `buffer`: at least maxGatheredBytes and two of the largest chunks. */
  constructor(key: KeyBytes, known: KnownChunks | null, sink: ChunkSink, buffer: Buffer) {
    this.#key = key;
    this.#known = known;
    this.#sink = sink;
    this.#buffer = buffer;
  }

  /** In the same order. What can't be read comes back with its fault. */
  async read(files: readonly FileToRead[]): Promise<FileRead[]> {
    const reads: FileRead[] = [];
    for (const file of files) {
      reads.push(await this.#readOne(file));
      if (this.#mustCut) await this.#flush();
    }
    await this.#flush();
    return shareBuffer(reads);
  }

  async #readOne(file: FileToRead): Promise<FileRead> {
    try {
      const descriptor = openFile(file);
      try {
        return this.#readOnce(descriptor, file) ?? (await this.#readAgain(descriptor, file));
      } finally {
        closeFile(descriptor);
      }
    } catch (error) {
      if (!isReadFault(error)) throw error;
      return faultedFile(file, error);
    }
  }

  /** Null where it is not, or no longer, what the walk saw, and where it has a hole. */
  #readOnce(descriptor: number, file: FileToRead): FileRead | null {
    let got: number;
    try {
      got = readFully(descriptor, this.#buffer, this.#used, file.sizeBytes, 0);
    } catch (error) {
      // A fifo in its place, say: reading again looks what it is.
      if (isReadFault(error) && (error as NodeJS.ErrnoException).code !== "EIO") return null;
      throw error;
    }
    const after = statOpened(descriptor);
    if (got !== file.sizeBytes || !isUnchanged(file, after) || hasHole(descriptor, after)) return null;
    return { ...describeRead(after, got, true), ...this.#take(got) };
  }

  async #readAgain(descriptor: number, file: FileToRead): Promise<FileRead> {
    const before = statOpened(descriptor);
    checkOpened(descriptor, file, before);
    const sizeBytes = Number(before.size);
    if (sizeBytes >= smallFileBytes || hasHole(descriptor, before)) {
      // It grew meanwhile, or has holes to be kept. The buffer is needed for it.
      await this.#flush();
      return await readSegment(file, 0, sizeBytes, this.#buffer, this.#sink);
    }
    const got = readFully(descriptor, this.#buffer, this.#used, sizeBytes, 0);
    const after = statOpened(descriptor);
    const steady = got === sizeBytes && isUnchanged(describeRead(before, sizeBytes, true), after);
    return { ...describeRead(after, got, steady), ...this.#take(got) };
  }

  /** Takes the next `length` bytes of the buffer for the content of one file. */
  #take(length: number): Pick<FileRead, "extents" | "contentDigest"> {
    const content = this.#buffer.subarray(this.#used, this.#used + length);
    if (length === 0) return { extents: new Uint8Array(0), contentDigest: null };
    const record = Buffer.allocUnsafe(extentRecordBytes);
    if (countZeros(content, 0, length) === length) {
      writeExtentRecord(record, 0, null, 0, length);
      return { extents: record, contentDigest: null };
    }
    const contentDigest = keyedDigestBytes(this.#key, content);
    const digest = contentDigest.toString("latin1");
    const isRemembered = length >= minRememberedBytes;
    const remembered = { contentDigest: isRemembered ? contentDigest : null };
    const seen = this.#recent.get(digest) ?? (isRemembered ? this.#lookUp(contentDigest) : null);
    if (seen !== null) return { extents: seen, ...remembered };
    this.#gathered.push({ record, offset: this.#used, length });
    this.#used += length;
    if (this.#recent.size >= maxRecentContents) this.#recent.clear();
    this.#recent.set(digest, record);
    const cutsHere = contentDigest.readUInt32LE(0) < (length / surelyCutBytes) * 0x1_0000_0000;
    this.#mustCut = this.#used >= maxGatheredBytes || (this.#used >= minChunkBytes && cutsHere);
    return { extents: record, ...remembered };
  }

  #lookUp(contentDigest: Uint8Array): Buffer | null {
    const records = this.#known?.extentsOf(contentDigest) ?? null;
    if (records === null) return null;
    for (const { name } of readExtentRecords(records)) {
      if (name === null || this.#known?.has(name) !== true) return null;
    }
    const copy = Buffer.alloc(records.length);
    copy.set(records);
    return copy;
  }

  async #flush(): Promise<void> {
    this.#mustCut = false;
    if (this.#used === 0) return;
    const name = await this.#sink.store(this.#buffer.subarray(0, this.#used));
    for (const { record, offset, length } of this.#gathered) writeExtentRecord(record, 0, name, offset, length);
    this.#gathered = [];
    this.#used = 0;
  }
}

/** One that is long enough to come back as a hole: for a shorter one the file need not have chunks of its own. */
function hasHole(descriptor: number, { size, blocks }: BigIntStats): boolean {
  // st_blocks counts 512 bytes each (stat(2)); it is less than the size of compressed files, too.
  if (size < minHoleBytes || blocks * 512n >= size) return false;
  const end = Number(size);
  for (let hole = findHole(descriptor, 0); hole !== null && hole < end;) {
    const data = Math.min(findData(descriptor, hole) ?? end, end);
    if (data - hole >= minHoleBytes) return true;
    hole = findHole(descriptor, data);
  }
  return false;
}

/** The byte arrays of all files in one buffer: between threads one costs what one for each file would. */
function shareBuffer(reads: readonly FileRead[]): FileRead[] {
  const bytes = reads.reduce((sum, read) => sum + read.extents.length + (read.contentDigest?.length ?? 0), 0);
  const shared = new Uint8Array(bytes);
  let used = 0;
  const copy = (part: Uint8Array): Uint8Array => {
    shared.set(part, used);
    used += part.length;
    return shared.subarray(used - part.length, used);
  };
  return reads.map((read) => ({
    ...read,
    extents: copy(read.extents),
    contentDigest: read.contentDigest === null ? null : copy(read.contentDigest),
  }));
}
