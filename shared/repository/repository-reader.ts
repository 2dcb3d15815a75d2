// Finds the repository object that counts: the highest version that the pinned root key, or its heir, signed.
import { SkepError, type ErrorCode } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import { layout, numberOfKey } from "./layout.ts";
import { decodeRepositoryObject, type RepositoryObject } from "./repository-object.ts";

/** One that is larger is not ours: 10,000 revoked writers and 100 post-quantum recipients fit. */
const maxObjectBytes = 4 * 1024 * 1024;
/** Of what somebody else put there. */
const foreignCodes = new Set<ErrorCode>(["SKEP_SIGNATURE_INVALID", "SKEP_REPOSITORY_INVALID", "SKEP_STORE_TOO_LARGE"]);

export interface ReadRepositoryOptions {
  /** The highest version that this reader has seen; an older one is refused. The root key is that one's then. */
  minVersion?: number;
  /**
   * Told of each higher object that is not signed by the root key, or damaged; without it these throw. Where no
   * object at all is signed by it, the highest one's fault is thrown all the same.
   */
  onForeign?: (fault: SkepError, key: ObjectKey) => void;
  signal?: AbortSignal;
}

/** Objects that are read at once. */
const atOnce = 8;

/**
 * From the oldest to the newest, so that the first handover of a root key counts: who found a former key can sign above
 * it, and is not believed. Throws SKEP_REPOSITORY_MISSING, SKEP_REPOSITORY_ROLLED_BACK, SKEP_REPOSITORY_FORMAT_NEWER, and
 * for the highest object SKEP_REPOSITORY_INVALID, SKEP_SIGNATURE_INVALID or SKEP_STORE_TOO_LARGE unless onForeign takes them.
 */
export async function readRepositoryObject(
  store: Store,
  rootPublicKey: string,
  options: ReadRepositoryOptions = {},
): Promise<RepositoryObject> {
  const { minVersion = 1, onForeign, signal } = options;
  const versions: number[] = [];
  for await (const { key } of store.list(layout.repositoryPrefix, signal)) {
    const version = numberOfKey(key);
    if (version !== null && key === layout.repository(version)) versions.push(version);
  }
  const since = versions.filter((version) => version >= minVersion);
  let pinned = rootPublicKey;
  let counts: RepositoryObject | null = null;
  /** Above the object that counts. */
  let faults: { fault: SkepError; key: ObjectKey }[] = [];
  for (let at = 0; at < since.length; at += atOnce) {
    const batch = since.slice(at, at + atOnce);
    const found = await Promise.all(batch.map((version) => readVersion(store, version, signal)));
    for (const [index, version] of batch.entries()) {
      const bytes = found[index] ?? null;
      if (bytes === null) continue;
      try {
        if (bytes instanceof SkepError) throw bytes;
        counts = decodeVersion(bytes, version, pinned, store);
        pinned = counts.rootPublicKey;
        faults = [];
      } catch (error) {
        if (!(error instanceof SkepError) || !foreignCodes.has(error.code)) throw error;
        faults.push({ fault: error, key: layout.repository(version) });
      }
    }
  }
  for (const { fault, key } of faults.reverse()) {
    if (onForeign === undefined) throw fault;
    onForeign(fault, key);
  }
  if (counts !== null) return counts;
  if (minVersion > 1) throw rolledBack(store, versions.findLast((version) => version < minVersion) ?? 0, minVersion);
  if (faults[0] !== undefined) throw faults[0].fault;
  throw new SkepError({
    code: "SKEP_REPOSITORY_MISSING",
    message: `there is no repository at ${store.address}`,
    permanent: true,
    hint: "check the store's address against the recovery card; `skep init` makes a new repository",
  });
}

/** Null where it is gone; one that is too large is a fault of that object. */
async function readVersion(
  store: Store,
  version: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | SkepError | null> {
  try {
    return await store.get(layout.repository(version), maxObjectBytes, signal);
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_STORE_TOO_LARGE") return error;
    throw error;
  }
}

function decodeVersion(bytes: Uint8Array, version: number, rootPublicKey: string, store: Store): RepositoryObject {
  const key = layout.repository(version);
  const object = decodeRepositoryObject(bytes, rootPublicKey, `${key} at ${store.address}`);
  if (object.version === version) return object;
  throw new SkepError({
    code: "SKEP_REPOSITORY_INVALID",
    message: `${key} at ${store.address} holds version ${object.version} of the repository object`,
    permanent: true,
    hint: "somebody copied it there: check who can write to the store",
  });
}

function rolledBack(store: Store, version: number, seen: number): SkepError {
  return new SkepError({
    code: "SKEP_REPOSITORY_ROLLED_BACK",
    message: `the repository object at ${store.address} has version ${version}, but version ${seen} was seen here before`,
    permanent: true,
    hint: "the store was rolled back or replaced: find out by whom before anything is written to it",
  });
}
