// Seals the payload of an age v1 file. Apart from what makes headers: a pack worker has its headers made for it, and so does
// not load the age-encryption package, which takes longer than all the rest of its start.
import { randomBytes } from "node:crypto";
import {
  payloadKey,
  payloadNonceBytes,
  pieceBytes,
  pieceNonce,
  pieceTagBytes,
  sealedPieceBytes,
} from "./age-payload.ts";
import { codec } from "./native-codec.ts";

/** Seals a payload piece by piece. `emit` gets nonce and sealed bytes in order; what it is given is its own. */
export class PayloadSealer {
  readonly #key: Uint8Array;
  readonly #emit: (sealed: Uint8Array) => void;
  readonly #held = Buffer.allocUnsafeSlow(pieceBytes);
  readonly #reused: Uint8Array | null;
  #heldBytes = 0;
  #piece = 0;

  /** `reuses`: what `emit` is given is good during the call only, and costs no memory of its own. */
  constructor(fileKey: Uint8Array, emit: (sealed: Uint8Array) => void, reuses = false) {
    this.#reused = reuses ? Buffer.allocUnsafeSlow(sealedPieceBytes) : null;
    const nonce = randomBytes(payloadNonceBytes);
    this.#key = payloadKey(fileKey, nonce);
    this.#emit = emit;
    emit(nonce);
  }

  write(plain: Uint8Array): void {
    let at = 0;
    while (at < plain.length) {
      // A full piece is sealed only when more follows: the last one carries a mark.
      if (this.#heldBytes === pieceBytes) {
        this.#seal(this.#held, false);
        this.#heldBytes = 0;
      }
      if (this.#heldBytes === 0 && plain.length - at > pieceBytes) {
        this.#seal(plain.subarray(at, at + pieceBytes), false);
        at += pieceBytes;
        continue;
      }
      const taken = plain.subarray(at, at + pieceBytes - this.#heldBytes);
      this.#held.set(taken, this.#heldBytes);
      this.#heldBytes += taken.length;
      at += taken.length;
    }
  }

  finish(): void {
    this.#seal(this.#held.subarray(0, this.#heldBytes), true);
  }

  #seal(plain: Uint8Array, last: boolean): void {
    const sealed =
      this.#reused?.subarray(0, plain.length + pieceTagBytes) ?? new Uint8Array(plain.length + pieceTagBytes);
    codec.seal(this.#key, pieceNonce(this.#piece++, last), plain, sealed, 0);
    this.#emit(sealed);
  }
}
