// The store's own clock: what it dates a fresh object. How old something is, is asked of it alone, for machines' clocks jump.
import { probeKey } from "./probe.ts";
import { SkepError } from "../errors.ts";
import type { Store } from "./store.ts";

/** ms since 1970; S3 tells whole seconds. Leaves nothing, where it may delete. */
export async function readStoreClock(store: Store, signal?: AbortSignal): Promise<number> {
  const key = probeKey();
  await store.put(key, Buffer.from("what time is it?"), { ...(signal && { signal }) });
  const found = await store.head(key, signal);
  await store.delete([key], signal);
  if (found !== null) return Date.parse(found.storedAt);
  throw new SkepError({
    code: "SKEP_STORE_FAILED",
    message: `${key}, which was just put, is not at ${store.address}`,
    permanent: false,
    hint: "does somebody else delete there, or a lifecycle rule?",
  });
}
