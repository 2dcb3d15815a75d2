// A chunk as one zstd frame. What does not compress (pictures, archives, ciphertext) is stored as raw blocks, which
// every zstd opens: a sample at the fastest level tells, so that nothing is compressed twice in vain.
import { constants, zstdCompressSync } from "node:zlib";

const level = { [constants.ZSTD_c_compressionLevel]: 3 };
const fastest = { params: { [constants.ZSTD_c_compressionLevel]: -5 } };
const sampleBytes = 32 * 1024;
/** Below this a sample costs as much as the compression. */
const minSampledBytes = 256 * 1024;
/** RFC 8878 §3.1.1.2: a block holds at most 128 KiB. */
const rawBlockBytes = 128 * 1024;

export function encodeChunkFrame(plain: Buffer): Buffer {
  if (plain.length >= minSampledBytes && !seemsCompressible(plain)) return encodeRawFrame(plain);
  // One output buffer that is large enough: by default node:zlib gathers pieces of 16 KiB (8 % slower).
  const frame = zstdCompressSync(plain, { params: level, chunkSize: plain.length + 1024 });
  return frame.length < plain.length ? frame : encodeRawFrame(plain);
}

/** Three samples, from the beginning, the middle and the end: one that shrinks is enough. */
function seemsCompressible(plain: Buffer): boolean {
  for (const start of [0, (plain.length - sampleBytes) >>> 1, plain.length - sampleBytes]) {
    const sample = plain.subarray(start, start + sampleBytes);
    if (zstdCompressSync(sample, fastest).length < sampleBytes * 0.97) return true;
  }
  return false;
}

/** RFC 8878 §3.1.1: magic, a header with the content size in 4 bytes and single segment, raw blocks. */
export function encodeRawFrame(plain: Buffer): Buffer {
  const blocks = Math.max(1, Math.ceil(plain.length / rawBlockBytes));
  const frame = Buffer.allocUnsafe(9 + blocks * 3 + plain.length);
  frame.writeUInt32LE(0xfd2fb528, 0);
  frame.writeUInt8(0b1010_0000, 4);
  frame.writeUInt32LE(plain.length, 5);
  let at = 9;
  for (let block = 0; block < blocks; block++) {
    const from = block * rawBlockBytes;
    const length = Math.min(rawBlockBytes, plain.length - from);
    const last = block === blocks - 1 ? 1 : 0;
    frame.writeUIntLE((length << 3) | last, at, 3);
    plain.copy(frame, at + 3, from, from + length);
    at += 3 + length;
  }
  return frame;
}
