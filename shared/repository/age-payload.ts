// The payload of an age v1 file (age-encryption.org/v1 §Payload), what its writer and its reader must agree on:
//
//   header (text) │ 16-byte nonce │ piece 0 │ piece 1 │ … │ last piece
//
// A piece is ChaCha20-Poly1305 of 64 KiB of plaintext (the last: 1 byte to 64 KiB; 0 only in an empty file) with
// its 16-byte tag. Key: HKDF-SHA256(file key, nonce, "payload"). Nonce of a piece: its number as 11 bytes
// big-endian, then 1 for the last piece and 0 for the others.
import { hkdfSync } from "node:crypto";

export const payloadNonceBytes = 16;
/** Plain bytes of a piece. */
export const pieceBytes = 64 * 1024;
export const pieceTagBytes = 16;
export const sealedPieceBytes = pieceBytes + pieceTagBytes;
/** age-encryption.org/v1: 16 bytes. */
export const fileKeyBytes = 16;

export function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", fileKey, nonce, "payload", 32));
}

export function pieceNonce(piece: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(piece, 5, 6);
  nonce.writeUInt8(last ? 1 : 0, 11);
  return nonce;
}

/** Bytes of a payload with its nonce, for so many plain bytes. */
export function sealedPayloadBytes(plainBytes: number): number {
  return payloadNonceBytes + plainBytes + pieceTagBytes * Math.max(1, Math.ceil(plainBytes / pieceBytes));
}

/** The inverse; null where no payload has this length. */
export function plainPayloadBytes(sealedBytes: number): number | null {
  const pieces = sealedBytes - payloadNonceBytes;
  if (pieces < pieceTagBytes) return null;
  const rest = pieces % sealedPieceBytes;
  if (pieces > pieceTagBytes && rest > 0 && rest <= pieceTagBytes) return null;
  return pieces - pieceTagBytes * Math.ceil(pieces / sealedPieceBytes);
}
