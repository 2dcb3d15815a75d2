// An object's bytes on their way: their checksums before they leave, their length and checksum when they arrive.
import { webcrypto } from "node:crypto";
import type { Readable } from "node:stream";
import { crc32 } from "node:zlib";

export interface Checksums {
  /** Lower-case hex. Every S3 server checks it against what arrives, since the request's signature names it. */
  sha256: string;
  /** Big-endian bytes in base64, as S3's x-amz-checksum-crc32. */
  crc32: string;
}

/** SHA-256 in the thread pool: for 24 MiB the event loop is held for the copying (some 15 ms), not the hashing. */
export async function checksumsOf(bytes: Uint8Array): Promise<Checksums> {
  const digest = await webcrypto.subtle.digest("SHA-256", bytes);
  return { sha256: Buffer.from(digest).toString("hex"), crc32: crc32Of(bytes) };
}

export function crc32Of(bytes: Uint8Array): string {
  const four = Buffer.alloc(4);
  four.writeUInt32BE(crc32(bytes));
  return four.toString("base64");
}

/**
 * Reads a body to its end into one buffer of the announced length (null: unknown) and returns what came, which may be
 * shorter. Null, with the body destroyed, where it is longer than that or than maxBytes. An abort destroys the body.
 */
export async function readBody(
  body: Readable,
  announcedBytes: number | null,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Uint8Array | null> {
  const stop = (): void => {
    body.destroy(new Error("aborted"));
  };
  signal.addEventListener("abort", stop, { once: true });
  try {
    if (signal.aborted) stop();
    if (announcedBytes === null) return await readUnannounced(body, maxBytes);
    if (announcedBytes > maxBytes) return null;
    const bytes = Buffer.allocUnsafeSlow(announcedBytes);
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
