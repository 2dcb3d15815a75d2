// Cuts content into chunks where the content itself says so (FastCDC: Xia et al., USENIX ATC 2016), so that an
// insertion moves no cut but those near it. A gear hash of the last 32 bytes rolls along: h = (h << 1) + gear[byte],
// modulo 2^32. A cut is where its top bits are all zero: 21 bits before the usual size, 18 after (normalised), none
// before the smallest, and always at the largest. The gear table is made from the writer's chunker key: who doesn't
// hold it can't tell from the sizes of chunks which file it is.
import { hkdfSync } from "node:crypto";
import type { KeyBytes } from "./keys.ts";

export const minChunkBytes = 512 * 1024;
/** From here on cuts come easily; the average comes to about 1 MiB. */
const usualChunkBytes = 896 * 1024;
export const maxChunkBytes = 4 * 1024 * 1024;

const hardMask = 0xfffff800 | 0; // top 21 bits
const easyMask = 0xffffc000 | 0; // top 18 bits
/** Bytes that the hash depends on. */
const windowBytes = 32;

/** 256 words of 32 bits: HKDF-SHA256(chunker key, no salt, "skep/v1 gear", 1024), little-endian. */
export function makeGearTable(chunkerKey: KeyBytes): Int32Array {
  const bytes = Buffer.from(hkdfSync("sha256", chunkerKey, new Uint8Array(0), "skep/v1 gear", 1024));
  return Int32Array.from({ length: 256 }, (_, word) => bytes.readInt32LE(word * 4));
}

/**
 * Length of the chunk that starts at `start`. bytes[start, end) must hold maxChunkBytes, or all that is left; where
 * that is less than minChunkBytes it is one chunk.
 */
export function findCut(bytes: Uint8Array, start: number, end: number, gear: Int32Array): number {
  const available = Math.min(end - start, maxChunkBytes);
  if (available <= minChunkBytes) return available;
  const usual = start + Math.min(available, usualChunkBytes);
  const limit = start + available;
  let at = start + minChunkBytes - windowBytes;
  let hash = 0;
  for (const from = start + minChunkBytes; at < from; at++) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
  }
  for (; at < usual; at++) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
    if ((hash & hardMask) === 0) return at + 1 - start;
  }
  for (; at < limit; at++) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
    if ((hash & easyMask) === 0) return at + 1 - start;
  }
  return available;
}

const zeroBlock = Buffer.alloc(64 * 1024);

/** How many bytes from `start` on are zero, counted in steps of 64 KiB (the last may be shorter). */
export function countZeros(bytes: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end) {
    const step = Math.min(zeroBlock.length, end - at);
    if (bytes[at] !== 0 || bytes.compare(zeroBlock, 0, step, at, at + step) !== 0) break;
    at += step;
  }
  return at - start;
}
