// An index object: which chunks stand where in the packs that one writer made since its last. Written when the packs
// are acknowledged; only then their chunks count as stored.
import { digest } from "./blake3.ts";
import type { KeyBytes } from "./keys.ts";
import { layout, newObjectId } from "./layout.ts";
import { decodePackLines, encodePackLine, type PackRef } from "./refs.ts";
import { open, seal } from "./sealed.ts";
import type { Store } from "../store/store.ts";

/** An index object of a thousand packs of 8192 chunks has 600 MB; Skep writes one every 64 packs. */
const maxIndexBytes = 64 * 1024 * 1024;

export interface IndexPlace {
  store: Store;
  repositoryId: string;
  writerId: string;
  sealKey: KeyBytes;
}

/** Returns the object's id and size. */
export async function putIndex(
  place: IndexPlace,
  epoch: number,
  packs: readonly PackRef[],
  signal: AbortSignal,
): Promise<{ object: string; sizeBytes: number; digest: string }> {
  const plain = Buffer.from(packs.map(encodePackLine).join(""), "utf8");
  const { repositoryId, writerId } = place;
  const sealed = seal(plain, { type: "index", repositoryId, epoch, writerId }, place.sealKey);
  const object = newObjectId();
  await place.store.put(layout.index(writerId, object), sealed, { signal });
  return { object, sizeBytes: sealed.length, digest: digest(sealed) };
}

/** Null where it is gone. Throws SKEP_SEALED_INVALID, SKEP_REFS_INVALID, SKEP_REPOSITORY_FORMAT_NEWER. */
export async function getIndex(place: IndexPlace, object: string, signal: AbortSignal): Promise<PackRef[] | null> {
  const key = layout.index(place.writerId, object);
  const sealed = await place.store.get(key, maxIndexBytes, signal);
  if (sealed === null) return null;
  const name = `${key} at ${place.store.address}`;
  const expected = { type: "index", repositoryId: place.repositoryId, writerId: place.writerId } as const;
  return decodePackLines(open(sealed, expected, place.sealKey, name), name);
}
