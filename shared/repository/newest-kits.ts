// The list of kits that counts, in its row of numbers.
import { SkepError } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import type { OnFault } from "./foreign.ts";
import { decodeKitList, type KitList } from "./kit-list.ts";
import { layout, numberOfKey } from "./layout.ts";

const maxListBytes = 1024 * 1024;
/** What a list under such a key has that nobody with the root key wrote. */
const foreign: ReadonlySet<string> = new Set([
  "SKEP_KIT_LIST_INVALID",
  "SKEP_SIGNATURE_INVALID",
  "SKEP_STORE_TOO_LARGE",
]);

export interface KitPlace {
  store: Store;
  repositoryId: string;
  rootPublicKey: string;
}

/** `taken`: numbers of all, also of those that don't count. */
export async function newestKits(
  { store, repositoryId, rootPublicKey }: KitPlace,
  onForeign: OnFault,
  signal: AbortSignal | undefined,
): Promise<{ list: KitList | null; taken: Set<number> }> {
  const keys: ObjectKey[] = [];
  const taken = new Set<number>();
  for await (const { key } of store.list(layout.kitsPrefix, signal)) {
    const version = numberOfKey(key);
    if (version === null || key !== layout.kitList(version)) continue;
    keys.push(key);
    taken.add(version);
  }
  for (const key of keys.reverse()) {
    try {
      const bytes = await store.get(key, maxListBytes, signal);
      if (bytes === null) continue;
      const list = decodeKitList(bytes, rootPublicKey, `${key} at ${store.address}`);
      if (list.repositoryId === repositoryId && list.version === numberOfKey(key)) return { list, taken };
      throw new SkepError({
        code: "SKEP_KIT_LIST_INVALID",
        message: `${key} at ${store.address} is version ${list.version} of repository ${list.repositoryId}`,
        permanent: true,
        hint: "somebody copied it there: check who can write to the store",
      });
    } catch (error) {
      if (!(error instanceof SkepError) || !foreign.has(error.code)) throw error;
      onForeign(error, key);
    }
  }
  return { list: null, taken };
}
