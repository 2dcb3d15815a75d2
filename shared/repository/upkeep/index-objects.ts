// All index objects of a repository, writer by writer, as whoever holds the repository key reads them.
import { SkepError } from "../../errors.ts";
import type { ObjectKey } from "../../store/store.ts";
import { getIndex } from "../index-object.ts";
import { objectIdPattern, writerIdPattern } from "../layout.ts";
import type { PackRef } from "../refs.ts";
import type { CatalogueKeys } from "./refs-lines.ts";

const indexPrefix = "index/";

export interface FoundIndex {
  key: ObjectKey;
  writerId: string;
  storedAtMs: number;
  sizeBytes: number;
  /** Null where it does not open, or was deleted meanwhile; `fault` says why. */
  packs: PackRef[] | null;
  fault: SkepError | null;
}

/** One after the other; what is under another name is not ours and left out. Throws what the store throws. */
export async function* readIndexes(keys: CatalogueKeys, signal: AbortSignal): AsyncGenerator<FoundIndex> {
  const { store, repositoryId } = keys;
  for await (const { key, storedAt, sizeBytes } of store.list(indexPrefix, signal)) {
    const [, writerId = "", object = "", ...more] = key.split("/");
    if (more.length > 0 || !writerIdPattern.test(writerId) || !objectIdPattern.test(object)) continue;
    const found = { key, writerId, storedAtMs: Date.parse(storedAt), sizeBytes };
    try {
      const place = { store, repositoryId, writerId, sealKey: keys.sealKeyOf(writerId) };
      yield { ...found, packs: await getIndex(place, object, signal), fault: null };
    } catch (error) {
      if (!(error instanceof SkepError) || !error.permanent || error.code === "SKEP_STORE_DENIED") throw error;
      yield { ...found, packs: null, fault: error };
    }
  }
}
