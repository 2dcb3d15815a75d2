// swarmkit's MaybeEncryptedRecord { 1 algorithm, 2 data, 3 nonce }: around each entry, each snapshot and the data keys in
// the key file. Algorithms: 0 none; 1 NaCl secretbox (XSalsa20-Poly1305, 24-byte nonce, data = 16-byte tag and
// ciphertext); 2 Fernet (swarms in FIPS mode): data is the token's text, base64url of version 0x80, 8-byte time, 16-byte
// IV, AES-128-CBC with PKCS#7, 32-byte HMAC-SHA256; the first half of the key signs, the second encrypts; no age check.
// Source: moby/swarmkit manager/encryption/{encryption,nacl,fernet}.go, github.com/fernet/spec.
import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from "node:crypto";

import sodium from "libsodium-wrappers";

import { FieldReader } from "./field-reader.ts";
import { BinaryWriter, fieldFault, formatError, readCounter, unexpectedField } from "./wire.ts";

await sodium.ready;

export const algorithm = { none: 0, secretbox: 1, fernet: 2 } as const;

export interface SealedRecord {
  algorithm: number;
  data: Uint8Array;
  nonce: Uint8Array;
}

/** Length of the keys of both algorithms. */
export const keyBytes = 32;

const none: Uint8Array = new Uint8Array(0);

export function decodeSealedRecord(bytes: Uint8Array): SealedRecord {
  const { algorithm: how, dataStart, dataEnd, nonceStart, nonceEnd } = locate(bytes);
  return { algorithm: how, data: bytes.subarray(dataStart, dataEnd), nonce: bytes.subarray(nonceStart, nonceEnd) };
}

interface Located {
  algorithm: number;
  dataStart: number;
  dataEnd: number;
  nonceStart: number;
  nonceEnd: number;
}

function locate(bytes: Uint8Array): Located {
  const found: Located = { algorithm: 0, dataStart: 0, dataEnd: 0, nonceStart: 0, nonceEnd: 0 };
  const reader = new FieldReader(bytes);
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 0x08) found.algorithm = readCounter(reader);
      else if (tag === 0x12) {
        found.dataStart = reader.enter();
        found.dataEnd = reader.pos;
      } else if (tag === 0x1a) {
        found.nonceStart = reader.enter();
        found.nonceEnd = reader.pos;
      } else throw unexpectedField("sealed record", tag);
    }
  } catch (error) {
    throw fieldFault("sealed record", error);
  }
  return found;
}

export function encodeSealedRecord(record: SealedRecord): Uint8Array {
  const writer = new BinaryWriter();
  if (record.algorithm !== algorithm.none) writer.uint32(0x08).uint32(record.algorithm);
  if (record.data.length > 0) writer.uint32(0x12).bytes(record.data);
  if (record.nonce.length > 0) writer.uint32(0x1a).bytes(record.nonce);
  return writer.finish();
}

/**
 * The plaintext; null if the key does not fit, or the record is altered (which look the same).
 * Throws SKEP_RAFT_FORMAT for a record of no known form, and for one in clear: with a key given, the engine refuses it.
 */
export function openRecord(bytes: Uint8Array, key: Uint8Array): Uint8Array | null {
  const found = locate(bytes);
  if (found.algorithm !== algorithm.secretbox && found.algorithm !== algorithm.fernet) {
    throw formatError(
      found.algorithm === algorithm.none ? "sealed record: in clear" : `sealed record: algorithm ${found.algorithm}`,
    );
  }
  return found.algorithm === algorithm.secretbox
    ? openSecretbox(bytes, found, key)
    : openFernet(bytes.subarray(found.dataStart, found.dataEnd), key);
}

/** Seals as the engine does outside of FIPS mode. */
export function sealRecord(plain: Uint8Array, key: Uint8Array, how: number = algorithm.secretbox): Uint8Array {
  if (how === algorithm.fernet) {
    return encodeSealedRecord({ algorithm: how, data: sealFernet(plain, key), nonce: new Uint8Array(0) });
  }
  const nonce = randomBytes(sodium.crypto_secretbox_NONCEBYTES);
  return encodeSealedRecord({ algorithm: how, data: sodium.crypto_secretbox_easy(plain, nonce, key), nonce });
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

/**
 * In libsodium's memory: the key that was used last, then room for a whole record, whose data is opened in place. The key
 * stays there as it stays in our own memory: a log has one or two, for a hundred thousand entries.
 */
const scratch = { address: 0, roomBytes: 0, key: none };

/** Null where the tag does not fit. */
function openSecretbox(bytes: Uint8Array, found: Located, key: Uint8Array): Uint8Array | null {
  const { dataStart, dataEnd, nonceStart, nonceEnd } = found;
  const dataBytes = dataEnd - dataStart;
  if (nonceEnd - nonceStart !== sodium.crypto_secretbox_NONCEBYTES || dataBytes < sodium.crypto_secretbox_MACBYTES) {
    throw formatError("sealed record: nonce or tag is cut short");
  }
  if (key.length !== keyBytes) throw new TypeError(`a key of ${key.length} bytes`);
  if (bytes.length > scratch.roomBytes) growScratch(2 * bytes.length);
  const { address } = scratch;
  const memory = raw.HEAPU8;
  if (key !== scratch.key) {
    memory.set(key, address);
    scratch.key = key;
  }
  const record = address + keyBytes;
  memory.set(bytes, record);
  const data = record + dataStart;
  const failed = raw._crypto_secretbox_open_easy(data, data, dataBytes, 0, record + nonceStart, address);
  if (failed !== 0) return null;
  return keep(memory.subarray(data, data + dataBytes - sodium.crypto_secretbox_MACBYTES));
}

function growScratch(roomBytes: number): void {
  if (scratch.address !== 0) raw._free(scratch.address);
  scratch.key = none;
  scratch.roomBytes = 0;
  const wantedBytes = Math.max(64 * 1024, roomBytes);
  scratch.address = raw._malloc(keyBytes + wantedBytes);
  if (scratch.address === 0) throw new TypeError(`libsodium has no room for ${wantedBytes} bytes`);
  scratch.roomBytes = wantedBytes;
}

/**
 * Plaintexts lie one behind the other in pieces of this many bytes: memory of its own for each costs more than opening it.
 * So small that an object which lives on can keep its whole shelf.
 */
export const shelfBytes = 8 * 1024;
const shelf = { bytes: none, used: 0 };

function keep(plain: Uint8Array): Uint8Array {
  if (plain.length > shelfBytes / 4) return plain.slice();
  if (shelf.used + plain.length > shelf.bytes.length) {
    shelf.bytes = new Uint8Array(shelfBytes);
    shelf.used = 0;
  }
  const start = shelf.used;
  shelf.used += plain.length;
  shelf.bytes.set(plain, start);
  return shelf.bytes.subarray(start, shelf.used);
}

const fernet = { version: 0x80, timeBytes: 8, ivBytes: 16, macBytes: 32, halfKeyBytes: 16 } as const;

function openFernet(data: Uint8Array, key: Uint8Array): Uint8Array | null {
  const text = Buffer.from(data).toString("latin1");
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
  const iv = randomBytes(fernet.ivBytes);
  const head = Buffer.alloc(1 + fernet.timeBytes);
  head[0] = fernet.version;
  head.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1000)), 1);
  const cipher = createCipheriv("aes-128-cbc", key.subarray(fernet.halfKeyBytes), iv);
  const signed = Buffer.concat([head, iv, cipher.update(plain), cipher.final()]);
  const mac = createHmac("sha256", key.subarray(0, fernet.halfKeyBytes)).update(signed).digest();
  const text = Buffer.concat([signed, mac]).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
  return Buffer.from(text, "latin1");
}
