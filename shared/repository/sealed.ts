// A sealed object: symmetric, authenticated, and bound to what it is. Index, refs, run objects, policy, enrolments, …
//
//   offset  bytes  what
//        0      4  magic "SKEP"
//        4      1  format version, 1
//        5      1  type (sealedTypes below)
//        6      2  flags, big-endian; bits 8–15 are critical: a reader that doesn't know one refuses. All 0 in format 1
//        8     16  repository id
//       24      4  epoch, big-endian (0 where none applies)
//       28      1  length W of the writer id (0 where the controller wrote it)
//       29      W  writer id, ASCII
//     29+W     32  salt, random
//     61+W      …  ChaCha20-Poly1305 (RFC 8439) of the zstd-compressed plaintext; the last 16 bytes are the tag
//
// Key of the cipher: HKDF-SHA256(key, salt, "skep/v1 sealed", 32); nonce: 12 zero bytes (the key is used once).
// Associated data: all bytes before the ciphertext.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { SkepError } from "../errors.ts";
import type { KeyBytes } from "./keys.ts";

export const sealedTypes = { index: 1, refs: 2, run: 3, policy: 4, enrolment: 5, upkeep: 6, protection: 7 } as const;
export type SealedType = keyof typeof sealedTypes;

export interface SealedHeader {
  type: SealedType;
  repositoryId: string;
  epoch: number;
  /** "" where the controller wrote it. */
  writerId: string;
}

const magic = Buffer.from("SKEP", "ascii");
const fixedBytes = 29;
const saltBytes = 32;
const tagBytes = 16;
const nonce = Buffer.alloc(12);

function cipherKey(key: KeyBytes, salt: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", key, salt, "skep/v1 sealed", 32));
}

export function seal(plain: Uint8Array, header: SealedHeader, key: KeyBytes): Uint8Array {
  const writer = Buffer.from(header.writerId, "ascii");
  const head = Buffer.alloc(fixedBytes + writer.length + saltBytes);
  magic.copy(head, 0);
  head.writeUInt8(1, 4);
  head.writeUInt8(sealedTypes[header.type], 5);
  head.writeUInt16BE(0, 6);
  head.write(header.repositoryId, 8, "hex");
  head.writeUInt32BE(header.epoch, 24);
  head.writeUInt8(writer.length, 28);
  writer.copy(head, fixedBytes);
  const salt = randomBytes(saltBytes);
  salt.copy(head, fixedBytes + writer.length);
  const compressed = zstdCompressSync(plain, { params: { [constants.ZSTD_c_checksumFlag]: 0 } });
  const cipher = createCipheriv("chacha20-poly1305", cipherKey(key, salt), nonce, { authTagLength: tagBytes });
  cipher.setAAD(head, { plaintextLength: compressed.length });
  return Buffer.concat([head, cipher.update(compressed), cipher.final(), cipher.getAuthTag()]);
}

/** What it says it is, not yet proven; null for what is no sealed object. */
export function sealedTypeOf(sealed: Uint8Array): SealedType | null {
  if (sealed.length < fixedBytes || !magic.equals(sealed.subarray(0, 4))) return null;
  const found = Object.entries(sealedTypes).find(([, number]) => number === sealed[5]);
  return found === undefined ? null : (found[0] as SealedType);
}

/**
 * The plaintext, once type, repository and writer are the expected ones and the tag fits; at most maxPlainBytes.
 * Throws SKEP_SEALED_INVALID (not such an object, damaged, another key) or SKEP_REPOSITORY_FORMAT_NEWER; `place` is its key.
 */
export function open(
  sealed: Uint8Array,
  expected: Omit<SealedHeader, "epoch">,
  key: KeyBytes,
  place: string,
  maxPlainBytes = 256 * 1024 * 1024,
): Uint8Array {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  const invalid = (why: string, cause?: unknown): SkepError =>
    new SkepError({
      code: "SKEP_SEALED_INVALID",
      message: `${place}: ${why}`,
      permanent: true,
      hint: "the object is damaged or was written by somebody else; run `skep check` to see what it hurts",
      cause,
    });
  if (bytes.length < fixedBytes + saltBytes + tagBytes || !bytes.subarray(0, 4).equals(magic)) {
    throw invalid("this is not a sealed object of Skep");
  }
  if (bytes.readUInt8(4) !== 1 || bytes.readUInt8(6) !== 0) {
    throw new SkepError({
      code: "SKEP_REPOSITORY_FORMAT_NEWER",
      message: `${place} was written in a newer format`,
      permanent: true,
      hint: "use a newer Skep",
    });
  }
  const writerEnd = fixedBytes + bytes.readUInt8(28);
  const payload = writerEnd + saltBytes;
  if (bytes.length < payload + tagBytes) throw invalid("it is cut short");
  const repositoryId = bytes.toString("hex", 8, 24);
  const writerId = bytes.toString("ascii", fixedBytes, writerEnd);
  if (bytes.readUInt8(5) !== sealedTypes[expected.type]) throw invalid(`it is not of type ${expected.type}`);
  if (repositoryId !== expected.repositoryId) throw invalid(`it belongs to repository ${repositoryId}`);
  if (writerId !== expected.writerId) throw invalid(`it was written by "${writerId}", not "${expected.writerId}"`);
  const salt = bytes.subarray(writerEnd, payload);
  const decipher = createDecipheriv("chacha20-poly1305", cipherKey(key, salt), nonce, { authTagLength: tagBytes });
  const ciphertext = bytes.subarray(payload, bytes.length - tagBytes);
  decipher.setAAD(bytes.subarray(0, payload), { plaintextLength: ciphertext.length });
  decipher.setAuthTag(bytes.subarray(bytes.length - tagBytes));
  let compressed: Buffer;
  try {
    compressed = Buffer.concat([decipher.update(ciphertext), decipher.final()]);
  } catch (error) {
    throw invalid("its seal does not fit the key", error);
  }
  try {
    return zstdDecompressSync(compressed, { maxOutputLength: maxPlainBytes });
  } catch (error) {
    throw invalid("its content does not decompress within bounds", error);
  }
}
