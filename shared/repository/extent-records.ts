// Extents between threads and in the cache: records of 44 bytes, one after the other. A manifest has them as JSON.
//   32  chunk name; all zero: zero bytes that are stored nowhere
//    4  offset within the chunk, little-endian
//    8  length, little-endian double
import { maxChunkBytes } from "./chunker.ts";
import type { Extent } from "./manifest.ts";

export const extentRecordBytes = 44;
const nameBytes = 32;
const noName = Buffer.alloc(nameBytes);

export function writeExtentRecord(
  target: Buffer,
  at: number,
  name: Uint8Array | null,
  offset: number,
  length: number,
): void {
  target.set(name ?? noName, at);
  target.writeUInt32LE(offset, at + nameBytes);
  target.writeDoubleLE(length, at + nameBytes + 4);
}

/** Grows as it is filled; zero bytes that follow zero bytes are one extent. */
export class ExtentList {
  #records = Buffer.allocUnsafe(extentRecordBytes * 4);
  #used = 0;
  #lastWasZeros = false;

  add(name: Uint8Array | null, offset: number, length: number): void {
    if (name === null && this.#lastWasZeros) {
      const at = this.#used - 8;
      this.#records.writeDoubleLE(this.#records.readDoubleLE(at) + length, at);
      return;
    }
    if (this.#used === this.#records.length) {
      const larger = Buffer.allocUnsafe(this.#records.length * 2);
      this.#records.copy(larger);
      this.#records = larger;
    }
    writeExtentRecord(this.#records, this.#used, name, offset, length);
    this.#used += extentRecordBytes;
    this.#lastWasZeros = name === null;
  }

  /** A copy of its own, fit to be handed to another thread. */
  take(): Uint8Array {
    return new Uint8Array(this.#records.subarray(0, this.#used));
  }
}

export interface Hole {
  /** Bytes of data before it. */
  after: number;
  lengthBytes: number;
}

/** Extents of a file's data with the file's holes, in order, put in their places as zero bytes. */
export function insertHoles(records: Uint8Array, holes: readonly Hole[]): Uint8Array {
  if (holes.length === 0) return records;
  const list = new ExtentList();
  let at = 0;
  let next = 0;
  const insertUpTo = (end: number): void => {
    for (let hole = holes[next]; hole !== undefined && hole.after <= end; hole = holes[++next]) {
      list.add(null, 0, hole.lengthBytes);
    }
  };
  for (const { name, offset, length } of readExtentRecords(records)) {
    for (let done = 0; done < length;) {
      insertUpTo(at);
      const part = Math.min(length - done, (holes[next]?.after ?? Infinity) - at);
      list.add(name, offset + done, part);
      done += part;
      at += part;
    }
  }
  insertUpTo(Infinity);
  return list.take();
}

export function joinExtentRecords(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return only;
  const list = new ExtentList();
  for (const part of parts) {
    for (const { name, offset, length } of readExtentRecords(part)) list.add(name, offset, length);
  }
  return list.take();
}

export function* readExtentRecords(
  records: Uint8Array,
): Generator<{ name: Buffer | null; offset: number; length: number }> {
  const bytes = Buffer.from(records.buffer, records.byteOffset, records.byteLength);
  for (let at = 0; at + extentRecordBytes <= bytes.length; at += extentRecordBytes) {
    const name = bytes.subarray(at, at + nameBytes);
    yield {
      name: name.equals(noName) ? null : name,
      offset: bytes.readUInt32LE(at + nameBytes),
      length: bytes.readDoubleLE(at + nameBytes + 4),
    };
  }
}

/** True where a manifest may have them as they are: whole records of bytes that chunks can have, of so many in all. */
export function isReadableExtents(records: Uint8Array, sizeBytes: number): boolean {
  if (records.length % extentRecordBytes !== 0) return false;
  let left = sizeBytes;
  for (const { name, offset, length } of readExtentRecords(records)) {
    if (!Number.isSafeInteger(length) || length < 1) return false;
    if (name !== null && offset + length > maxChunkBytes) return false;
    left -= length;
  }
  return left === 0;
}

export function toManifestExtents(records: Uint8Array): Extent[] {
  const extents: Extent[] = [];
  for (const { name, offset, length } of readExtentRecords(records)) {
    extents.push([name === null ? null : name.toString("hex"), offset, length]);
  }
  return extents;
}
