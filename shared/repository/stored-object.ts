// An object as a run names it: key, size, digest.
import { SkepError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { digest } from "./blake3.ts";
import type { StoredObject } from "./run.ts";

/** A whole object that has the size and digest that a run names. Throws SKEP_OBJECT_MISSING, SKEP_OBJECT_DAMAGED. */
export async function getChecked(
  store: Store,
  object: StoredObject,
  maxBytes: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const place = `${object.key} at ${store.address}`;
  const bytes = object.sizeBytes > maxBytes ? null : await store.get(object.key, maxBytes, signal);
  if (bytes === null) {
    throw new SkepError({
      code: "SKEP_OBJECT_MISSING",
      message: `${place} is missing`,
      permanent: true,
      hint: "it was deleted: look for it in the store's former versions; `skep check` tells what else it hurts",
    });
  }
  if (bytes.length !== object.sizeBytes || digest(bytes) !== object.digest) {
    throw new SkepError({
      code: "SKEP_OBJECT_DAMAGED",
      message: `${place} is not what the run names: ${bytes.length} of ${object.sizeBytes} bytes, or another digest`,
      permanent: true,
      hint: "it was damaged or replaced: look for it in the store's former versions",
    });
  }
  return bytes;
}
