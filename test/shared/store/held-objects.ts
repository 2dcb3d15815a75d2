// A store that holds what a test gives it, in memory. Deletes nothing, locks nothing.
import type { ObjectInfo, Store } from "../../../shared/store/store.ts";

const storedAt = "2026-11-21T03:00:00.000Z";

export function storeOf(objects: Map<string, Uint8Array>): Store {
  const put = (key: string, bytes: Uint8Array): Promise<{ sizeBytes: number; versionId: null }> => {
    objects.set(key, bytes);
    return Promise.resolve({ sizeBytes: bytes.length, versionId: null });
  };
  const refuse = (): never => {
    throw new Error("a decoder changes nothing");
  };
  const infoOf = ([key, bytes]: [string, Uint8Array]): ObjectInfo => ({ key, sizeBytes: bytes.length, storedAt });
  return {
    address: "memory",
    put,
    putIfAbsent: (key, bytes) => (objects.has(key) ? Promise.resolve(null) : put(key, bytes)),
    get: (key) => Promise.resolve(objects.get(key) ?? null),
    getRange: (key, start, end) => Promise.resolve(objects.get(key)?.subarray(start, end) ?? null),
    head: (key) => {
      const bytes = objects.get(key);
      return Promise.resolve(
        bytes === undefined ? null : { ...infoOf([key, bytes]), versionId: null, lockedUntil: null },
      );
    },
    async *list(prefix) {
      for (const object of objects) if (object[0].startsWith(prefix)) yield await Promise.resolve(infoOf(object));
    },
    listDeleted: refuse,
    async *listVersions() {
      // It keeps none.
    },
    delete: refuse,
    lock: refuse,
    probe: refuse,
    close: () => Promise.resolve(),
  };
}
