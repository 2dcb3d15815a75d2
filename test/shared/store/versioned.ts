// A store around another that keeps former versions, as a bucket with versions does: for tests of what was put over. Real ones are
// in test/e2e.
import type { ObjectHead, ObjectKey, ObjectVersion, Store, Stored } from "../../../shared/store/store.ts";

interface Version {
  versionId: string;
  bytes: Uint8Array;
}

export interface VersionedStore {
  store: Store;
  /** How often versions were listed. */
  lists: () => number;
  /** How many versions those lists told. */
  listed: () => number;
  /** As a lifecycle rule does: the present version alone stays. */
  expire: (key: ObjectKey) => void;
}

export function withVersions(inner: Store): VersionedStore {
  const versions = new Map<ObjectKey, Version[]>();
  let made = 0;
  let lists = 0;
  let listed = 0;
  const keep = (key: ObjectKey, bytes: Uint8Array, stored: Stored): Stored => {
    const versionId = `version-${++made}`;
    versions.set(key, [{ versionId, bytes }, ...(versions.get(key) ?? [])]);
    return { ...stored, versionId };
  };
  const store: Store = {
    address: inner.address,
    put: async (key, bytes, options) => keep(key, bytes, await inner.put(key, bytes, options)),
    putIfAbsent: async (key, bytes, options) => {
      const stored = await inner.putIfAbsent(key, bytes, options);
      return stored && keep(key, bytes, stored);
    },
    get: async (key, maxBytes, signal, versionId) =>
      versionId === undefined
        ? await inner.get(key, maxBytes, signal)
        : (versions.get(key)?.find((each) => each.versionId === versionId)?.bytes ?? null),
    getRange: (key, start, end, signal) => inner.getRange(key, start, end, signal),
    head: async (key, signal): Promise<ObjectHead | null> => {
      const found = await inner.head(key, signal);
      return found && { ...found, versionId: versions.get(key)?.[0]?.versionId ?? null };
    },
    list: (prefix, signal) => inner.list(prefix, signal),
    listDeleted: (prefix, signal) => inner.listDeleted(prefix, signal),
    async *listVersions(prefix): AsyncGenerator<ObjectVersion> {
      lists++;
      for (const [key, kept] of [...versions].sort(([a], [b]) => (a < b ? -1 : 1))) {
        if (!key.startsWith(prefix)) continue;
        for (const { versionId } of kept) {
          listed++;
          yield await Promise.resolve({ key, versionId });
        }
      }
    },
    delete: (keys, signal) => inner.delete(keys, signal),
    lock: (key, versionId, until, signal) => inner.lock(key, versionId, until, signal),
    probe: (signal) => inner.probe(signal),
    close: () => inner.close(),
  };
  return {
    store,
    lists: () => lists,
    listed: () => listed,
    expire: (key) => {
      versions.set(key, (versions.get(key) ?? []).slice(0, 1));
    },
  };
}
