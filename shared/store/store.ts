// What Skep needs of a place that keeps objects, and what that place must guarantee.
//
// A store maps keys to immutable byte strings of at most 64 MiB. Skep never appends, never overwrites on
// purpose, and never needs a listing to be fresh for an object that it was told about by another object.
// Guarantees asked of every store (kept by the one suite in test/shared/store/suite.ts):
//   1. A put that resolved survives a crash of both sides: it was acknowledged after it was durable.
//   2. A put is all or nothing: no reader ever sees a part of an object under its key.
//   3. A get after a resolved put returns exactly those bytes.
//   4. list returns every object put before the call, in order of its key's UTF-8 bytes.
//   5. putIfAbsent lets exactly one of any number of racing writers win, where `conditionalWrites` is true.

/**
 * Keys are segments of `[a-z0-9._-]`, at most 255 bytes and not beginning with a dot, joined by `/`, at most 512 bytes in
 * all; checked by `checkKey` (SKEP_STORE_KEY). No key is another's beginning up to a `/`: where `a` is, `a/b` can't be.
 */
export type ObjectKey = string;

export interface ObjectInfo {
  key: ObjectKey;
  sizeBytes: number;
  /** By the store's clock, ISO 8601 UTC. */
  storedAt: string;
}

export interface ObjectHead extends ObjectInfo {
  /** Of what is there now; null where the store keeps no versions. */
  versionId: string | null;
  /** Until then nobody deletes this version, ISO 8601 UTC; null: it is not locked, or these credentials may not see it. */
  lockedUntil: string | null;
}

/** One of those that the store keeps of a key. */
export interface ObjectVersion {
  key: ObjectKey;
  versionId: string;
}

export interface Stored {
  sizeBytes: number;
  /** Where the store keeps versions: the version that this put made; else null. */
  versionId: string | null;
}

export interface StoreAbilities {
  /** True where a probe proved that two creations of one key cannot both succeed. */
  conditionalWrites: boolean;
  /** True where an overwritten or deleted object's former version stays. */
  versions: boolean;
  /** True where retention can be set on an object so that nobody deletes it before its time. */
  objectLock: boolean;
  /** True where these credentials deleted what they wrote; where not, the probe's objects stay below `probe/`. */
  deletes: boolean;
  /**
   * True where these credentials, taken by a thief, destroy what is stored and not locked: they overwrite or delete where
   * no versions are kept, or delete versions.
   */
  destroys: boolean;
}

/**
 * Every method rejects with a SkepError: SKEP_STORE_DENIED, SKEP_STORE_BUCKET_MISSING, SKEP_STORE_UNREACHABLE,
 * SKEP_STORE_FULL, SKEP_STORE_CORRUPT (a checksum or length did not fit), SKEP_STORE_TOO_LARGE, SKEP_STORE_KEY,
 * SKEP_STORE_RANGE, SKEP_STORE_NO_LOCK, SKEP_STORE_FAILED (anything else), with the key and the store's address in the message;
 * docs/STORES.md lists all. Aborting rejects with the signal's reason, also out of a back-off.
 */
export interface Store {
  /** For messages: the address without credentials, e.g. `s3://bucket/prefix at https://host`. */
  readonly address: string;
  /** Writes one whole object; an existing one of that key is replaced. Bytes are not kept after the promise settles. */
  put(key: ObjectKey, bytes: Uint8Array, options?: PutOptions): Promise<Stored>;
  /** Writes one whole object unless the key is taken: null when it is. */
  putIfAbsent(key: ObjectKey, bytes: Uint8Array, options?: PutOptions): Promise<Stored | null>;
  /**
   * The whole object, or that version of it; null where there is none. Refuses an object larger than maxBytes
   * (SKEP_STORE_TOO_LARGE). `versionId` as listVersions tells it.
   */
  get(key: ObjectKey, maxBytes: number, signal?: AbortSignal, versionId?: string): Promise<Uint8Array | null>;
  /**
   * Bytes [start, end) of an object; shorter only where the object ends; null where there is none. They may be written to
   * the beginning of `into`, of at least end - start bytes, and returned as a view of it.
   */
  getRange(
    key: ObjectKey,
    start: number,
    end: number,
    signal?: AbortSignal,
    into?: Uint8Array,
  ): Promise<Uint8Array | null>;
  /** Null where there is none. */
  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectHead | null>;
  /** All objects whose key starts with the prefix, which may end anywhere in a key. What has no key's name is skipped. */
  list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo>;
  /**
   * Keys below the prefix that were deleted, of which the store keeps a former version; none where it keeps no versions.
   * Throws SKEP_STORE_DENIED, or SKEP_STORE_FAILED for good, where it tells nothing of them to these credentials.
   */
  listDeleted(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectKey>;
  /**
   * The versions that are kept of all keys with the prefix, deletion marks left out: by key, those of one from the newest to
   * the oldest. None where the store keeps no versions; throws as listDeleted.
   */
  listVersions(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectVersion>;
  /** Deleting what is not there is no error. What could not be deleted is named in one error, after all were tried. */
  delete(keys: readonly ObjectKey[], signal?: AbortSignal): Promise<void>;
  /**
   * Lets nobody delete that version before `until` (ms since 1970; whole seconds count). A lock that is there gets
   * longer, never shorter. Throws SKEP_STORE_NO_LOCK where the store has no locks.
   */
  lock(key: ObjectKey, versionId: string | null, until: number, signal?: AbortSignal): Promise<void>;
  /** Finds out by trying, under a probe key of its own that it removes again. */
  probe(signal?: AbortSignal): Promise<StoreAbilities>;
  close(): Promise<void>;
}

export interface PutOptions {
  signal?: AbortSignal;
}
