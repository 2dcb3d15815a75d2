// Reads the refs of a snapshot, pages and all.
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import type { KeyBytes } from "../keys.ts";
import { layout } from "../layout.ts";
import { decodePackLines, decodeRefs, type PackRef, type RefsHeader } from "../refs.ts";
import type { StoredObject } from "../run.ts";
import { open } from "../sealed.ts";
import { getChecked } from "../stored-object.ts";

const maxRefsBytes = 64 * 1024 * 1024;

export interface RefsPlace {
  store: Store;
  repositoryId: string;
  writerId: string;
  sealKey: KeyBytes;
}

/**
 * The header, and its packs in order; checked against the header's counts at the end.
 * Throws SKEP_OBJECT_MISSING, SKEP_OBJECT_DAMAGED, SKEP_SEALED_INVALID, SKEP_REFS_INVALID.
 */
export async function readRefs(
  place: RefsPlace,
  refs: StoredObject,
  signal?: AbortSignal,
): Promise<{ header: RefsHeader; packs: AsyncIterable<PackRef> }> {
  const { store, repositoryId, writerId } = place;
  const name = `${refs.key} at ${store.address}`;
  const expected = { type: "refs", repositoryId, writerId } as const;
  const opened = async (object: StoredObject): Promise<Uint8Array> =>
    open(await getChecked(store, object, maxRefsBytes, signal), expected, place.sealKey, name);
  const { header, packs: inline } = decodeRefs(await opened(refs), name);
  if (header.repositoryId !== repositoryId || header.writerId !== writerId) {
    throw refsInvalid(name, "it belongs to another repository or writer");
  }
  async function* packs(): AsyncGenerator<PackRef> {
    let seen = 0;
    let chunks = 0;
    const count = (pack: PackRef): PackRef => {
      seen++;
      chunks += pack.chunks.length;
      return pack;
    };
    for (const pack of inline) yield count(pack);
    for (const { object, sizeBytes, digest } of header.pages) {
      const key = layout.refs(header.runId, object);
      const page = await opened({ key, sizeBytes, digest, versionId: null });
      for (const pack of decodePackLines(page, `${key} at ${store.address}`)) yield count(pack);
    }
    if (seen !== header.packs || chunks !== header.chunks) {
      throw refsInvalid(name, `it names ${seen} packs and ${chunks} chunks, not ${header.packs} and ${header.chunks}`);
    }
  }
  return { header, packs: packs() };
}

function refsInvalid(place: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_REFS_INVALID",
    message: `${place}: ${why}`,
    permanent: true,
    hint: "somebody copied or changed it: check who can write to the store",
  });
}
