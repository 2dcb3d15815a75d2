// swarmkit's MaybeEncryptedRecord { 1 algorithm, 2 data, 3 nonce }: around each entry, each snapshot and the data keys in
// the key file. Algorithms: 0 none; 1 NaCl secretbox (XSalsa20-Poly1305, 24-byte nonce, data = 16-byte tag and
// ciphertext); 2 Fernet (swarms in FIPS mode): data is the token's text, base64url of version 0x80, 8-byte time, 16-byte
// IV, AES-128-CBC with PKCS#7, 32-byte HMAC-SHA256; the first half of the key signs, the second encrypts; no age check.
// Source: moby/swarmkit manager/encryption/{encryption,nacl,fernet}.go, github.com/fernet/spec.
import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from "node:crypto";

import sodium from "libsodium-wrappers";

import { BinaryWriter, formatError, readCounter, readFields } from "./wire.ts";

await sodium.ready;

export const algorithm = { none: 0, secretbox: 1, fernet: 2 } as const;

export interface SealedRecord {
  algorithm: number;
  data: Uint8Array;
  nonce: Uint8Array;
}

/** Length of the keys of both algorithms. */
export const keyBytes = 32;

export function decodeSealedRecord(bytes: Uint8Array): SealedRecord {
  const record: SealedRecord = { algorithm: 0, data: new Uint8Array(0), nonce: new Uint8Array(0) };
  readFields("sealed record", bytes, (tag, reader) => {
    if (tag === 0x08) record.algorithm = readCounter(reader);
    else if (tag === 0x12) record.data = reader.bytes();
    else if (tag === 0x1a) record.nonce = reader.bytes();
    else return false;
    return true;
  });
  return record;
}

export function encodeSealedRecord(record: SealedRecord): Uint8Array {
  const writer = new BinaryWriter();
  if (record.algorithm !== algorithm.none) writer.uint32(0x08).uint32(record.algorithm);
  if (record.data.length > 0) writer.uint32(0x12).bytes(record.data);
  if (record.nonce.length > 0) writer.uint32(0x1a).bytes(record.nonce);
  return writer.finish();
}

/**
 * The plaintext under the first of `keys` that fits; null if none does, or the record is altered (which look the same).
 * Throws SKEP_RAFT_FORMAT for a record of no known form, and for one in clear: with keys given, the engine refuses it.
 */
export function openRecord(bytes: Uint8Array, keys: readonly Uint8Array[]): Uint8Array | null {
  const record = decodeSealedRecord(bytes);
  if (record.algorithm !== algorithm.secretbox && record.algorithm !== algorithm.fernet) {
    throw formatError(
      record.algorithm === algorithm.none ? "sealed record: in clear" : `sealed record: algorithm ${record.algorithm}`,
    );
  }
  for (const key of keys) {
    const plain = record.algorithm === algorithm.secretbox ? openSecretbox(record, key) : openFernet(record, key);
    if (plain !== null) return plain;
  }
  return null;
}

/** Seals as the engine does outside of FIPS mode. */
export function sealRecord(plain: Uint8Array, key: Uint8Array, how: number = algorithm.secretbox): Uint8Array {
  if (how === algorithm.fernet) {
    return encodeSealedRecord({ algorithm: how, data: sealFernet(plain, key), nonce: new Uint8Array(0) });
  }
  const nonce = sodium.randombytes_buf(sodium.crypto_secretbox_NONCEBYTES);
  return encodeSealedRecord({ algorithm: how, data: sodium.crypto_secretbox_easy(plain, nonce, key), nonce });
}

function openSecretbox(record: SealedRecord, key: Uint8Array): Uint8Array | null {
  if (
    record.nonce.length !== sodium.crypto_secretbox_NONCEBYTES ||
    record.data.length < sodium.crypto_secretbox_MACBYTES
  ) {
    throw formatError("sealed record: nonce or tag is cut short");
  }
  return openInScratch(record, key);
}

/** libsodium's own functions under the wrappers, which allocate, copy and free five times for each record. */
interface RawSodium {
  /** Another array whenever the memory has grown. */
  readonly HEAPU8: Uint8Array;
  _malloc(lengthBytes: number): number;
  _free(address: number): void;
  /** Lengths of 64 bits are two arguments. 0 where the tag fits. */
  _crypto_secretbox_open_easy(
    plain: number,
    sealed: number,
    sealedLow: number,
    sealedHigh: number,
    nonce: number,
    key: number,
  ): number;
}
const raw = (sodium as unknown as { libsodium: RawSodium }).libsodium;

/** In libsodium's memory: key, nonce, then room for the sealed bytes, which are opened in place. */
const scratch = { address: 0, roomBytes: 0 };
const headBytes = keyBytes + sodium.crypto_secretbox_NONCEBYTES;

/** Null where the tag does not fit. */
function openInScratch({ data, nonce }: SealedRecord, key: Uint8Array): Uint8Array | null {
  if (key.length !== keyBytes) throw new TypeError(`a key of ${key.length} bytes`);
  if (data.length > scratch.roomBytes) {
    if (scratch.address !== 0) raw._free(scratch.address);
    scratch.roomBytes = Math.max(64 * 1024, 2 * data.length);
    scratch.address = raw._malloc(headBytes + scratch.roomBytes);
    if (scratch.address === 0) throw new TypeError(`libsodium has no room for ${data.length} bytes`);
  }
  const sealed = scratch.address + headBytes;
  const memory = raw.HEAPU8;
  memory.set(key, scratch.address);
  memory.set(nonce, scratch.address + keyBytes);
  memory.set(data, sealed);
  const nonceAt = scratch.address + keyBytes;
  const failed = raw._crypto_secretbox_open_easy(sealed, sealed, data.length, 0, nonceAt, scratch.address);
  memory.fill(0, scratch.address, scratch.address + keyBytes);
  if (failed !== 0) return null;
  return memory.slice(sealed, sealed + data.length - sodium.crypto_secretbox_MACBYTES);
}

const fernet = { version: 0x80, timeBytes: 8, ivBytes: 16, macBytes: 32, halfKeyBytes: 16 } as const;

function openFernet(record: SealedRecord, key: Uint8Array): Uint8Array | null {
  const text = Buffer.from(record.data).toString("latin1");
  const token = Buffer.from(text, "base64url");
  const headBytes = 1 + fernet.timeBytes + fernet.ivBytes;
  // Compared with its own encoding: Buffer passes over what is not base64url.
  const isBase64url = token.toString("base64url") === text.replace(/=+$/, "");
  if (!isBase64url || token[0] !== fernet.version || token.length < headBytes + fernet.macBytes) {
    throw formatError("sealed record: no Fernet token");
  }
  const signed = token.subarray(0, token.length - fernet.macBytes);
  const mac = createHmac("sha256", key.subarray(0, fernet.halfKeyBytes)).update(signed).digest();
  if (!timingSafeEqual(mac, token.subarray(token.length - fernet.macBytes))) return null;
  const iv = signed.subarray(1 + fernet.timeBytes, headBytes);
  const decipher = createDecipheriv("aes-128-cbc", key.subarray(fernet.halfKeyBytes), iv);
  return Buffer.concat([decipher.update(signed.subarray(headBytes)), decipher.final()]);
}

function sealFernet(plain: Uint8Array, key: Uint8Array): Uint8Array {
  const iv = sodium.randombytes_buf(fernet.ivBytes);
  const head = Buffer.alloc(1 + fernet.timeBytes);
  head[0] = fernet.version;
  head.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1000)), 1);
  const cipher = createCipheriv("aes-128-cbc", key.subarray(fernet.halfKeyBytes), iv);
  const signed = Buffer.concat([head, iv, cipher.update(plain), cipher.final()]);
  const mac = createHmac("sha256", key.subarray(0, fernet.halfKeyBytes)).update(signed).digest();
  const text = Buffer.concat([signed, mac]).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
  return Buffer.from(text, "latin1");
}
