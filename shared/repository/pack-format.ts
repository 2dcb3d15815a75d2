// The plaintext of a pack: a zstd frame (RFC 8878) for each chunk, one after the other, then the chunk table in a
// skippable frame, so that `age -d | zstd -d` gives the chunks' content and an index can be rebuilt from packs alone.
//
//   frame of chunk 0 │ frame of chunk 1 │ … │ skippable frame
//
// Skippable frame, all numbers little-endian:
//     4  0x184D2A5E
//     4  length of what follows: 40 × chunks + 16
//    40  for each chunk, in the order of the frames: 32 bytes name, 4 frame length, 4 plain length
//     4  number of chunks
//     4  version of this table, 1
//     8  "SKEPPACK"
import { SkepError } from "../errors.ts";
import { maxChunkBytes } from "./chunker.ts";

/** A pack is closed by the chunk that takes its plaintext over this: 16 MiB and at most one chunk more. */
export const packTargetBytes = 16 * 1024 * 1024;
/** Keeps the table small where chunks are. */
export const maxPackChunks = 8192;
const skippableMagic = 0x184d2a5e;
const rowBytes = 40;
const trailerBytes = 16;
const magic = Buffer.from("SKEPPACK", "ascii");
/** zstd's own bound is input + input/256 + 64 KiB for inputs below 128 KiB; this is more. */
export const maxFrameBytes = maxChunkBytes + maxChunkBytes / 128 + 1024;
export const maxPackPlainBytes = packTargetBytes + maxFrameBytes + 8 + rowBytes * maxPackChunks + trailerBytes;

export interface PackRow {
  /** 32 bytes. */
  name: Uint8Array;
  frameBytes: number;
  plainBytes: number;
}

export function encodeChunkTable(rows: readonly PackRow[]): Buffer {
  const bytes = Buffer.alloc(8 + rowBytes * rows.length + trailerBytes);
  bytes.writeUInt32LE(skippableMagic, 0);
  bytes.writeUInt32LE(bytes.length - 8, 4);
  let at = 8;
  for (const row of rows) {
    bytes.set(row.name, at);
    bytes.writeUInt32LE(row.frameBytes, at + 32);
    bytes.writeUInt32LE(row.plainBytes, at + 36);
    at += rowBytes;
  }
  bytes.writeUInt32LE(rows.length, at);
  bytes.writeUInt32LE(1, at + 4);
  magic.copy(bytes, at + 8);
  return bytes;
}

/** From the whole plaintext of a pack, or an end of it that holds the table. Throws SKEP_PACK_INVALID; `place` names the pack. */
export function decodeChunkTable(plainEnd: Uint8Array, place: string): PackRow[] {
  const bytes = Buffer.from(plainEnd.buffer, plainEnd.byteOffset, plainEnd.byteLength);
  const invalid = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_PACK_INVALID",
      message: `${place}: ${why}`,
      permanent: true,
      hint: "the pack is damaged or was not written by Skep; run `skep check` to see what it hurts",
    });
  const trailer = bytes.length - trailerBytes;
  if (trailer < 8 || !bytes.subarray(trailer + 8).equals(magic)) throw invalid("it does not end with a chunk table");
  const chunks = bytes.readUInt32LE(trailer);
  if (bytes.readUInt32LE(trailer + 4) !== 1) {
    throw new SkepError({
      code: "SKEP_REPOSITORY_FORMAT_NEWER",
      message: `${place} was written in a newer format`,
      permanent: true,
      hint: "use a newer Skep",
    });
  }
  const start = trailer - rowBytes * chunks - 8;
  if (chunks > maxPackChunks || start < 0) throw invalid("its chunk table is longer than the pack");
  if (bytes.readUInt32LE(start) !== skippableMagic || bytes.readUInt32LE(start + 4) !== bytes.length - start - 8) {
    throw invalid("its chunk table is not a skippable frame");
  }
  const rows: PackRow[] = [];
  for (let at = start + 8; at < trailer; at += rowBytes) {
    const row = {
      name: new Uint8Array(bytes.subarray(at, at + 32)),
      frameBytes: bytes.readUInt32LE(at + 32),
      plainBytes: bytes.readUInt32LE(at + 36),
    };
    if (row.frameBytes > maxFrameBytes || row.plainBytes > maxChunkBytes)
      throw invalid("a chunk is larger than may be");
    rows.push(row);
  }
  return rows;
}
