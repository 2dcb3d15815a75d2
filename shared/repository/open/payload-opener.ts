// Opens the payload of an age v1 file, piece by piece and in any order, by native ChaCha20-Poly1305. What opens headers is
// age.ts: a thread that gets file keys needs none of it.
import { SkepError } from "../../errors.ts";
import {
  payloadKey,
  pieceBytes,
  pieceNonce,
  pieceTagBytes,
  plainPayloadBytes,
  sealedPieceBytes,
} from "../age-payload.ts";
import { codec } from "../native-codec.ts";

export const damagedHint = "the object is damaged or was replaced; run `skep check` to see what it hurts";

/** Opens the pieces of one payload in any order. */
export class PayloadOpener {
  readonly #key: Uint8Array;
  readonly #place: string;
  readonly plainBytes: number;
  readonly #lastPiece: number;

  /** `sealedBytes`: of nonce and pieces, from a source that is trusted or checked against the last piece. */
  constructor(fileKey: Uint8Array, nonce: Uint8Array, sealedBytes: number, place: string) {
    const plainBytes = plainPayloadBytes(sealedBytes);
    if (plainBytes === null) throw damaged(place, `no age payload has ${sealedBytes} bytes`);
    this.#key = payloadKey(fileKey, nonce);
    this.#place = place;
    this.plainBytes = plainBytes;
    this.#lastPiece = Math.max(0, Math.ceil(plainBytes / pieceBytes) - 1);
  }

  /** Where the pieces that hold plaintext [start, end) lie, counted from the byte after the nonce. */
  sealedRange(start: number, end: number): { firstPiece: number; start: number; end: number } {
    const firstPiece = Math.floor(start / pieceBytes);
    const endPiece = Math.ceil(end / pieceBytes);
    const sealedEnd = endPiece > this.#lastPiece ? this.#allSealedBytes() : endPiece * sealedPieceBytes;
    return { firstPiece, start: firstPiece * sealedPieceBytes, end: sealedEnd };
  }

  #allSealedBytes(): number {
    return this.plainBytes + (this.#lastPiece + 1) * pieceTagBytes;
  }

  /**
   * Plaintext of whole pieces, the first of which has number `firstPiece`; into `target`, where one is given that is long
   * enough. Throws SKEP_AGE_INVALID.
   */
  open(sealed: Uint8Array, firstPiece: number, target?: Buffer): Buffer {
    const pieces = Math.max(1, Math.ceil(sealed.length / sealedPieceBytes));
    const plainBytes = Math.max(0, sealed.length - pieces * pieceTagBytes);
    const plain = target?.subarray(0, plainBytes) ?? Buffer.allocUnsafe(plainBytes);
    let filled = 0;
    for (let at = 0, piece = firstPiece; at < sealed.length || piece === firstPiece; at += sealedPieceBytes, piece++) {
      const last = piece === this.#lastPiece;
      const bytes = sealed.subarray(at, at + sealedPieceBytes);
      filled += openPieceInto(this.#key, bytes, { piece, last, place: this.#place }, plain, filled);
    }
    return plain;
  }
}

interface PieceFacts {
  piece: number;
  last: boolean;
  place: string;
}

/** Plaintext of one sealed piece, with its tag. Throws SKEP_AGE_INVALID. */
export function openPiece(key: Uint8Array, sealed: Uint8Array, facts: PieceFacts): Buffer {
  const plain = Buffer.allocUnsafe(Math.max(0, sealed.length - pieceTagBytes));
  openPieceInto(key, sealed, facts, plain, 0);
  return plain;
}

function openPieceInto(
  key: Uint8Array,
  sealed: Uint8Array,
  { piece, last, place }: PieceFacts,
  target: Buffer,
  at: number,
): number {
  if (sealed.length < pieceTagBytes) throw damaged(place, `it is cut short in piece ${piece}`);
  if (codec.open(key, pieceNonce(piece, last), sealed, target, at)) return sealed.length - pieceTagBytes;
  throw damaged(place, `piece ${piece} (byte ${piece * pieceBytes} of the plaintext) does not authenticate`);
}

/** SKEP_AGE_INVALID. */
export function damaged(place: string, why: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_AGE_INVALID",
    message: `${place}: ${why}`,
    permanent: true,
    hint: damagedHint,
    cause,
  });
}
