// Finds the repository object that counts: the highest version that the pinned root key, or its heir, signed.
import { isDeepStrictEqual } from "node:util";
import { SkepError, type ErrorCode } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import { maxNamedForeign, type Foreign, type OnFault } from "./foreign.ts";
import { FirstVersions } from "./former-versions.ts";
import { freeAbove, layout, numberOfKey } from "./layout.ts";
import { decodeRepositoryObject, type RepositoryObject } from "./repository-object.ts";

/** One that is larger is not ours: 10,000 revoked writers and 100 post-quantum recipients fit. */
const maxObjectBytes = 4 * 1024 * 1024;
/** Of what somebody else put there. */
const foreignCodes = new Set<ErrorCode>(["SKEP_SIGNATURE_INVALID", "SKEP_REPOSITORY_INVALID", "SKEP_STORE_TOO_LARGE"]);

export interface ReadRepositoryOptions {
  /** The highest version that this reader has seen; an older one is refused. The root key is that one's then. */
  minVersion?: number;
  /**
   * Told of each higher object that is not signed by the root key, or damaged, and of what was put over one that counts
   * and which the store still has as a former version; without it these throw. Where no
   * object at all is signed by it, the highest one's fault is thrown all the same. Beyond the hundred highest, which are told
   * first, all have one fault, that says so: kept are keys alone.
   */
  onForeign?: OnFault;
  signal?: AbortSignal;
}

export interface FoundRepository {
  object: RepositoryObject;
  /** As it lies in the store, signed. */
  bytes: Uint8Array;
  /** The first above it under which nothing lies: what is between is foreign. Its writer has seen all that counted then. */
  nextVersion: number;
  /** What lies right above it and is foreign: something may have been put over a newer one. Null where nothing does. */
  above: Foreign | null;
}

/** Objects that are read at once. */
const atOnce = 8;

/** As findRepository; the object alone. */
export async function readRepositoryObject(
  store: Store,
  rootPublicKey: string,
  options: ReadRepositoryOptions = {},
): Promise<RepositoryObject> {
  return (await findRepository(store, rootPublicKey, options)).object;
}

/**
 * From the oldest to the newest, so that the first handover of a root key counts: who found a former key can sign above
 * it, and is not believed. Throws SKEP_REPOSITORY_MISSING, SKEP_REPOSITORY_ROLLED_BACK, SKEP_REPOSITORY_FORMAT_NEWER, and
 * for the highest object SKEP_REPOSITORY_INVALID, SKEP_SIGNATURE_INVALID or SKEP_STORE_TOO_LARGE unless onForeign takes them.
 */
export async function findRepository(
  store: Store,
  rootPublicKey: string,
  options: ReadRepositoryOptions = {},
): Promise<FoundRepository> {
  const { minVersion = 1, onForeign, signal } = options;
  const versions: number[] = [];
  for await (const { key } of store.list(layout.repositoryPrefix, signal)) {
    const version = numberOfKey(key);
    if (version !== null && key === layout.repository(version)) versions.push(version);
  }
  const since = versions.filter((version) => version >= minVersion);
  let pinned = rootPublicKey;
  let counts: Pick<FoundRepository, "object" | "bytes"> | null = null;
  let faults = new FaultsAbove(store);
  /** Put over what counts all the same, in its first version. */
  const covers: Foreign[] = [];
  const firsts = new FirstVersions(store, () => layout.repositoryPrefix, signal);
  for (let at = 0; at < since.length; at += atOnce) {
    const batch = since.slice(at, at + atOnce);
    const found = await Promise.all(
      batch.map(async (version) => ({
        present: await readVersion(store, version, signal),
        first: await firsts.of(layout.repository(version), maxObjectBytes),
      })),
    );
    for (const [index, version] of batch.entries()) {
      const { present = null, first = null } = found[index] ?? {};
      if (present === null) continue;
      const key = layout.repository(version);
      const now = present instanceof SkepError ? present : decodeUnlessForeign(present, version, pinned, store);
      // It comes before what lies there now, also where that is signed: who found a former root key can sign in its place.
      const then = first === null ? null : decodeUnlessForeign(first, version, pinned, store);
      if (then !== null && first !== null && !(then instanceof SkepError)) {
        if (now instanceof SkepError) covers.push({ key, fault: now });
        else if (!isDeepStrictEqual(now, then)) covers.push({ key, fault: covered(key, store) });
        counts = { object: then, bytes: first };
      } else if (now instanceof SkepError || present instanceof SkepError) {
        if (now instanceof SkepError) faults.add({ key, fault: now });
        continue;
      } else counts = { object: now, bytes: present };
      pinned = counts.object.rootPublicKey;
      faults = new FaultsAbove(store);
    }
  }
  const next = counts === null ? null : layout.repository(counts.object.version + 1);
  const above = faults.lowest?.key === next ? faults.lowest : null;
  for (const foreign of [faults, covers]) {
    for (const { fault, key } of foreign) {
      if (onForeign === undefined) throw fault;
      onForeign(fault, key);
    }
  }
  if (counts !== null) return { ...counts, above, nextVersion: freeAbove(counts.object.version, versions) };
  if (minVersion > 1) throw rolledBack(store, versions.findLast((version) => version < minVersion) ?? 0, minVersion);
  for (const { fault } of faults) throw fault;
  throw new SkepError({
    code: "SKEP_REPOSITORY_MISSING",
    message: `there is no repository at ${store.address}`,
    permanent: true,
    hint: "check the store's address against the recovery card; `skep init` makes a new repository",
  });
}

/** What is foreign above the object that counts, added by number and told from the highest on. */
class FaultsAbove implements Iterable<Foreign> {
  lowest: Foreign | null = null;
  readonly #store: Store;
  /** The highest of them. */
  #named: Foreign[] = [];
  readonly #others: ObjectKey[] = [];

  constructor(store: Store) {
    this.#store = store;
  }

  add(foreign: Foreign): void {
    this.lowest ??= foreign;
    this.#named.push(foreign);
    // Seldom, for it moves all the others.
    if (this.#named.length < 2 * maxNamedForeign) return;
    for (const { key } of this.#named.slice(0, maxNamedForeign)) this.#others.push(key);
    this.#named = this.#named.slice(maxNamedForeign);
  }

  *[Symbol.iterator](): Generator<Foreign> {
    yield* this.#named.toReversed();
    const fault = new SkepError({
      code: "SKEP_REPOSITORY_INVALID",
      message: `at ${this.#store.address} lie more foreign objects under repository/ than are named`,
      permanent: true,
      hint: "somebody who may put wrote them: find out who, and take that right away",
    });
    for (const key of this.#others.toReversed()) yield { key, fault };
  }
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

/** Before what takes something away or gives trust. Throws SKEP_REPOSITORY_UNPROVEN. */
export function refuseUnproven(found: Pick<FoundRepository, "object" | "above">, address: string): void {
  const fault = unprovenFault(found, address);
  if (fault !== null) throw fault;
}

/** SKEP_REPOSITORY_UNPROVEN; null where nothing lies right above the object that counts. */
export function unprovenFault(
  { object, above }: Pick<FoundRepository, "object" | "above">,
  address: string,
): SkepError | null {
  if (above === null) return null;
  return new SkepError({
    code: "SKEP_REPOSITORY_UNPROVEN",
    message: `${above.key} at ${address}, right above version ${object.version} of the repository object, which counts, does not open: something may have been put over a newer one, that changed keys or took the repository over (${above.fault.message})`,
    permanent: true,
    hint: "bring it back from the store's former versions (docs/STORES.md, What was put over); if you know that no newer one was ever written: --accept-foreign",
    cause: above.fault,
  });
}

/** The fault of one that is foreign. */
function decodeUnlessForeign(
  bytes: Uint8Array,
  version: number,
  pinned: string,
  store: Store,
): RepositoryObject | SkepError {
  try {
    return decodeVersion(bytes, version, pinned, store);
  } catch (error) {
    if (error instanceof SkepError && foreignCodes.has(error.code)) return error;
    throw error;
  }
}

function covered(key: string, { address }: Store): SkepError {
  return new SkepError({
    code: "SKEP_REPOSITORY_INVALID",
    message: `${key} at ${address} is signed, and not what was written there first: somebody who has a root key put it over that`,
    permanent: true,
    hint: "change the root key (`skep key rotate root`), and take the rights to write from who has no need of them",
  });
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
