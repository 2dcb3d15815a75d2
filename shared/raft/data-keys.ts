// The keys that open a manager's Raft data: the data key (DEK) in the headers of the key file, in clear or sealed with
// the unlock key (KEK); during a rotation also the next one, and then log and snapshot may need either.
import { SkepError } from "../errors.ts";
import { decodeBase64, isLocked, type KeyFile } from "./key-file.ts";
import {
  algorithm,
  decodeSealedRecord,
  encodeSealedRecord,
  keyBytes,
  openRecord,
  sealRecord,
} from "./sealed-record.ts";
import { formatError } from "./wire.ts";

export interface DataKeys {
  current: Uint8Array;
  /** The key that is being introduced; null outside of a rotation. */
  pending: Uint8Array | null;
}

/**
 * Throws SKEP_RAFT_LOCKED where the file is locked and no unlock key was given, SKEP_RAFT_UNLOCK_KEY where the one
 * given does not fit, SKEP_RAFT_FORMAT where the headers are malformed.
 */
export function readDataKeys(file: KeyFile, unlockKey: Uint8Array | null): DataKeys {
  const current = readHeader(file, "raft-dek", unlockKey);
  if (current === null) throw formatError("swarm-node.key has no raft-dek header: not a manager's");
  return { current, pending: readHeader(file, "raft-dek-pending", unlockKey) };
}

function readHeader(file: KeyFile, name: string, unlockKey: Uint8Array | null): Uint8Array | null {
  const value = file.headers.get(name);
  if (value === undefined) return null;
  const bytes = decodeBase64(value);
  if (bytes === null) throw formatError(`swarm-node.key: ${name} is not base64`);
  const record = decodeSealedRecord(bytes);
  // The engine decides by key and record alike: sealed without a key, or clear with one, is refused.
  if (isLocked(file) !== (record.algorithm !== algorithm.none)) {
    throw formatError(`swarm-node.key: the private key and ${name} are not locked alike`);
  }
  const key = record.algorithm === algorithm.none ? record.data : openWith(bytes, unlockKey);
  if (key.length !== keyBytes) throw formatError(`swarm-node.key: ${name} holds ${key.length} bytes, not ${keyBytes}`);
  return Uint8Array.from(key);
}

function openWith(bytes: Uint8Array, unlockKey: Uint8Array | null): Uint8Array {
  if (unlockKey === null) {
    throw new SkepError({
      code: "SKEP_RAFT_LOCKED",
      message: "the swarm is autolocked, and its unlock key was not given",
      permanent: true,
      hint: "give the unlock key of that time: --unlock-key-file FILE",
    });
  }
  const key = openRecord(bytes, unlockKey);
  if (key === null) {
    throw new SkepError({
      code: "SKEP_RAFT_UNLOCK_KEY",
      message: "the unlock key does not fit this copy",
      permanent: true,
      hint: "a copy needs the unlock key that was in use when it was made; a later one does not open it",
    });
  }
  return key;
}

/** A header's value, sealed with the unlock key as `how` says, or in clear where it is null. */
export function dataKeyHeader(
  key: Uint8Array,
  unlockKey: Uint8Array | null,
  how: number = algorithm.secretbox,
): string {
  const record =
    unlockKey === null
      ? encodeSealedRecord({ algorithm: algorithm.none, data: key, nonce: new Uint8Array(0) })
      : sealRecord(key, unlockKey, how);
  return Buffer.from(record).toString("base64");
}
