// An object's bytes on their way: their checksums before they leave, their length and checksum when they arrive.
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { crc32 } from "node:zlib";

export interface Checksums {
  /** Lower-case hex. Every S3 server checks it against what arrives, since the request's signature names it. */
  sha256: string;
  /** Big-endian bytes in base64, as S3's x-amz-checksum-crc32. */
  crc32: string;
}

/** Some 2 ms of work on a processor that knows SHA-256, 5 on one that doesn't. */
const sliceBytes = 2 * 1024 * 1024;

/** In slices, between which others have their turn; web crypto would hash beside, but copies all, and takes no shared memory. */
export async function checksumsOf(bytes: Uint8Array): Promise<Checksums> {
  const sha256 = createHash("sha256");
  let crc = 0;
  for (let at = 0; at < bytes.length; at += sliceBytes) {
    if (at > 0) await nextTurn();
    const slice = bytes.subarray(at, at + sliceBytes);
    sha256.update(slice);
    crc = crc32(slice, crc);
  }
  return { sha256: sha256.digest("hex"), crc32: crc32Text(crc) };
}

export const crc32Of = (bytes: Uint8Array): string => crc32Text(crc32(bytes));

function crc32Text(crc: number): string {
  const four = Buffer.alloc(4);
  four.writeUInt32BE(crc);
  return four.toString("base64");
}

/**
 * Reads a body to its end into one buffer of the announced length (null: unknown), the beginning of `into` where that is
 * given and long enough, and returns what came, which may be shorter. Null, with the body destroyed, where it is longer than that or than maxBytes. An abort destroys the body.
 */
export async function readBody(
  body: Readable,
  announcedBytes: number | null,
  maxBytes: number,
  signal: AbortSignal,
  into?: Uint8Array,
): Promise<Uint8Array | null> {
  const stop = (): void => {
    body.destroy(new Error("aborted"));
  };
  signal.addEventListener("abort", stop, { once: true });
  try {
    if (signal.aborted) stop();
    if (announcedBytes === null) return await readUnannounced(body, maxBytes);
    if (announcedBytes > maxBytes) return null;
    const fits = into !== undefined && announcedBytes <= into.length;
    const bytes = fits ? into.subarray(0, announcedBytes) : Buffer.allocUnsafeSlow(announcedBytes);
    let doneBytes = 0;
    for await (const piece of body as AsyncIterable<Buffer>) {
      if (doneBytes + piece.length > announcedBytes) return null;
      doneBytes += piece.copy(bytes, doneBytes);
    }
    return bytes.subarray(0, doneBytes);
  } finally {
    signal.removeEventListener("abort", stop);
    body.destroy();
  }
}

async function readUnannounced(body: Readable, maxBytes: number): Promise<Uint8Array | null> {
  const pieces: Buffer[] = [];
  let doneBytes = 0;
  for await (const piece of body as AsyncIterable<Buffer>) {
    doneBytes += piece.length;
    if (doneBytes > maxBytes) return null;
    pieces.push(piece);
  }
  return Buffer.concat(pieces, doneBytes);
}
