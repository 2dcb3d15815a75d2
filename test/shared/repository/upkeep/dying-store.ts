// A store whose process dies at its nth write: that write is done or not, as is wanted, and none after it. A deletion of
// many objects is as many writes.
import type { Store } from "../../../../shared/store/store.ts";

/** `die` never returns, or throws. `before`: it dies before the nth write (from 1), else after it. */
export function dyingStore(store: Store, nth: number, before: boolean, die: () => never): Store {
  let writes = 0;
  async function write<T>(act: () => Promise<T>): Promise<T> {
    if (writes >= nth) die();
    writes++;
    if (before && writes === nth) die();
    const done = await act();
    if (writes === nth) die();
    return done;
  }
  return {
    address: store.address,
    put: (key, bytes, options) => write(() => store.put(key, bytes, options)),
    putIfAbsent: (key, bytes, options) => write(() => store.putIfAbsent(key, bytes, options)),
    get: (key, maxBytes, signal, versionId) => store.get(key, maxBytes, signal, versionId),
    getRange: (key, start, end, signal) => store.getRange(key, start, end, signal),
    head: (key, signal) => store.head(key, signal),
    lock: (key, versionId, until, signal) => write(() => store.lock(key, versionId, until, signal)),
    list: (prefix, signal) => store.list(prefix, signal),
    listDeleted: (prefix, signal) => store.listDeleted(prefix, signal),
    listVersions: (prefix, signal) => store.listVersions(prefix, signal),
    delete: async (keys, signal) => {
      for (const key of keys) await write(() => store.delete([key], signal));
    },
    probe: (signal) => store.probe(signal),
    close: () => store.close(),
  };
}
