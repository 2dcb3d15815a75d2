// BLAKE3-256, plain for digests and pack names, keyed for chunk names. The only file that names the native module.
import { blake3, Blake3Hasher } from "@napi-rs/blake-hash";
import type { KeyBytes } from "./keys.ts";

/** 64 hex digits. */
export function digest(bytes: Uint8Array): string {
  return blake3(asBuffer(bytes)).toString("hex");
}

/** 64 hex digits. */
export function keyedDigest(key: KeyBytes, bytes: Uint8Array): string {
  return Blake3Hasher.newKeyed(asBuffer(key)).update(asBuffer(bytes)).digest("hex");
}

/** 32 bytes. */
export function keyedDigestBytes(key: KeyBytes, bytes: Uint8Array): Buffer {
  // Its digestBuffer() makes memory that the collector counts badly: a million of them are hundreds of MB.
  return Buffer.from(Blake3Hasher.newKeyed(asBuffer(key)).update(asBuffer(bytes)).digest("hex"), "hex");
}

/** The digest of what comes in pieces. */
export class Digester {
  readonly #hasher: Blake3Hasher;

  /** With a key: the keyed digest. */
  constructor(key?: KeyBytes) {
    this.#hasher = key === undefined ? new Blake3Hasher() : Blake3Hasher.newKeyed(asBuffer(key));
  }

  update(bytes: Uint8Array): this {
    this.#hasher.update(asBuffer(bytes));
    return this;
  }

  /** 64 hex digits; of all that came so far. */
  hex(): string {
    return this.#hasher.digest("hex");
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
