// Finds the repository object that counts: the highest version that the pinned root key signed.
import { SkepError, type ErrorCode } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import { layout, numberOfKey } from "./layout.ts";
import { decodeRepositoryObject, type RepositoryObject } from "./repository-object.ts";

/** One that is larger is not ours: 10,000 revoked writers and 100 post-quantum recipients fit. */
const maxObjectBytes = 4 * 1024 * 1024;
/** Of what somebody else put there. */
const foreignCodes = new Set<ErrorCode>(["SKEP_SIGNATURE_INVALID", "SKEP_REPOSITORY_INVALID", "SKEP_STORE_TOO_LARGE"]);

export interface ReadRepositoryOptions {
  /** The highest version that this reader has seen; an older one is refused. */
  minVersion?: number;
  /**
   * Told of each higher object that is not signed by the root key, or damaged; without it these throw. Where no
   * object at all is signed by it, the highest one's fault is thrown all the same.
   */
  onForeign?: (fault: SkepError, key: ObjectKey) => void;
  signal?: AbortSignal;
}

/**
 * Throws SKEP_REPOSITORY_MISSING, SKEP_REPOSITORY_ROLLED_BACK, SKEP_REPOSITORY_FORMAT_NEWER, and for the highest
 * object SKEP_REPOSITORY_INVALID, SKEP_SIGNATURE_INVALID or SKEP_STORE_TOO_LARGE unless onForeign takes them.
 */
export async function readRepositoryObject(
  store: Store,
  rootPublicKey: string,
  options: ReadRepositoryOptions = {},
): Promise<RepositoryObject> {
  const { minVersion = 1, onForeign, signal } = options;
  const keys: ObjectKey[] = [];
  for await (const { key } of store.list(layout.repositoryPrefix, signal)) {
    const version = numberOfKey(key);
    if (version !== null && key === layout.repository(version)) keys.push(key);
  }
  let highestFault: SkepError | null = null;
  for (const key of keys.reverse()) {
    let object: RepositoryObject;
    try {
      const bytes = await store.get(key, maxObjectBytes, signal);
      if (bytes === null) continue;
      object = decodeRepositoryObject(bytes, rootPublicKey, `${key} at ${store.address}`);
      if (object.version !== numberOfKey(key)) {
        throw new SkepError({
          code: "SKEP_REPOSITORY_INVALID",
          message: `${key} at ${store.address} holds version ${object.version} of the repository object`,
          permanent: true,
          hint: "somebody copied it there: check who can write to the store",
        });
      }
    } catch (error) {
      const foreign = error instanceof SkepError && foreignCodes.has(error.code);
      if (!foreign || onForeign === undefined) throw error;
      highestFault ??= error;
      onForeign(error, key);
      continue;
    }
    if (object.version < minVersion) throw rolledBack(store, object.version, minVersion);
    return object;
  }
  if (minVersion > 1) throw rolledBack(store, 0, minVersion);
  if (highestFault !== null) throw highestFault;
  throw new SkepError({
    code: "SKEP_REPOSITORY_MISSING",
    message: `there is no repository at ${store.address}`,
    permanent: true,
    hint: "check the store's address against the recovery card; `skep init` makes a new repository",
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
