// What the store still has of an object that something was put over. Objects are never changed, so that the first version of a key
// is the one of who made it; it counts only where signature, seal or digest prove it like any other.
import { SkepError, type ErrorCode } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";

const silentCodes = new Set<ErrorCode>(["SKEP_STORE_DENIED", "SKEP_STORE_FAILED"]);

/** True for what a store throws that lists no versions, or not to these credentials. */
export function tellsNoVersions(error: unknown): error is SkepError {
  return error instanceof SkepError && error.permanent && silentCodes.has(error.code);
}

/** Null where the store keeps no versions, tells nothing of them, or has one that is larger than `maxBytes`. */
export async function firstVersion(
  store: Store,
  key: ObjectKey,
  maxBytes: number,
  signal?: AbortSignal,
): Promise<Uint8Array | null> {
  let first: string | null = null;
  try {
    for await (const found of store.listVersions(key, signal)) if (found.key === key) first = found.versionId;
  } catch (error) {
    if (tellsNoVersions(error)) return null;
    throw error;
  }
  return first === null ? null : await readVersion(store, key, first, maxBytes, signal);
}

/** Null where the store does not give it, or it is larger than `maxBytes`. */
async function readVersion(
  store: Store,
  key: ObjectKey,
  versionId: string,
  maxBytes: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | null> {
  try {
    return await store.get(key, maxBytes, signal, versionId);
  } catch (error) {
    if (tellsNoVersions(error) || (error instanceof SkepError && error.code === "SKEP_STORE_TOO_LARGE")) return null;
    throw error;
  }
}

/**
 * First versions of many keys. Versions are listed when the first of them is asked for, all with one prefix at once: however
 * much somebody puts there, it costs one list for each prefix.
 */
export class FirstVersions {
  readonly #store: Store;
  readonly #prefixOf: (key: ObjectKey) => string;
  readonly #signal: AbortSignal | undefined;
  #listed: { prefix: string; firsts: Promise<ReadonlyMap<ObjectKey, string>> } | null = null;

  /** `prefixOf`: with what a key's versions are listed. Only the last list is kept: keys of one prefix are asked for in a row. */
  constructor(store: Store, prefixOf: (key: ObjectKey) => string, signal?: AbortSignal) {
    this.#store = store;
    this.#prefixOf = prefixOf;
    this.#signal = signal;
  }

  /** Of a key that has later ones too; else null, and as firstVersion. */
  async of(key: ObjectKey, maxBytes: number): Promise<Uint8Array | null> {
    const prefix = this.#prefixOf(key);
    if (this.#listed?.prefix !== prefix) this.#listed = { prefix, firsts: this.#list(prefix) };
    const first = (await this.#listed.firsts).get(key);
    return first === undefined ? null : await readVersion(this.#store, key, first, maxBytes, this.#signal);
  }

  async #list(prefix: string): Promise<ReadonlyMap<ObjectKey, string>> {
    const firsts = new Map<ObjectKey, string>();
    let newer: ObjectKey | null = null;
    try {
      // Those of one key from the newest to the oldest.
      for await (const { key, versionId } of this.#store.listVersions(prefix, this.#signal)) {
        if (key === newer) firsts.set(key, versionId);
        newer = key;
      }
    } catch (error) {
      // Of a list that broke off, the last may be no first one.
      if (tellsNoVersions(error)) return new Map();
      throw error;
    }
    return firsts;
  }
}
