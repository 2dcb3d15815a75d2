// The refs of a snapshot line by line, without an identity: what check, prune and a commit walk through. A line that
// was seen before (most are, from run to run) need not be decoded again, so the lines come as they are.
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import type { KeyBytes } from "../keys.ts";
import { layout } from "../layout.ts";
import { decodeRefs, splitLines, type RefsHeader } from "../refs.ts";
import type { StoredObject } from "../run.ts";
import { open } from "../sealed.ts";
import { getChecked } from "../stored-object.ts";

/** What a store takes. */
const maxRefsBytes = 64 * 1024 * 1024;

export interface CatalogueKeys {
  store: Store;
  repositoryId: string;
  /** Opens that writer's index and refs. */
  sealKeyOf: (writerId: string) => KeyBytes;
}

export interface RefsOfPart {
  runId: string;
  writerId: string;
  refs: StoredObject;
}

export interface OpenedRefs {
  header: RefsHeader;
  /** Of all pages, in order; a page is read when its lines are wanted. */
  lines: AsyncIterable<{ line: string; place: string }>;
}

/**
 * Throws SKEP_OBJECT_MISSING, SKEP_OBJECT_DAMAGED, SKEP_SEALED_INVALID, SKEP_REFS_INVALID (also where they are of another
 * run or writer, or lack lines), and what the store throws.
 */
export async function openRefs(
  keys: CatalogueKeys,
  { runId, writerId, refs }: RefsOfPart,
  signal?: AbortSignal,
): Promise<OpenedRefs> {
  const { store, repositoryId } = keys;
  const expected = { type: "refs", repositoryId, writerId } as const;
  const sealKey = keys.sealKeyOf(writerId);
  const place = `${refs.key} at ${store.address}`;
  const openObject = async (object: StoredObject): Promise<Uint8Array> =>
    open(await getChecked(store, object, maxRefsBytes, signal), expected, sealKey, `${object.key} at ${store.address}`);
  const first = splitLines(await openObject(refs));
  const { header } = decodeRefs(Buffer.from(first[0] ?? "", "utf8"), place);
  if (header.runId !== runId || header.writerId !== writerId || header.repositoryId !== repositoryId) {
    throw invalid(place, "it belongs to another run, writer or repository");
  }
  if (header.pages.length > 0 && first.length > 1) throw invalid(place, "it has both pages and lines");
  async function* lines(): AsyncGenerator<{ line: string; place: string }> {
    let seen = 0;
    for (const line of first.slice(1)) yield { line, place: `${place} line ${++seen + 1}` };
    for (const { object, sizeBytes, digest } of header.pages) {
      const page = { key: layout.refs(runId, object), sizeBytes, digest, versionId: null };
      for (const [at, line] of splitLines(await openObject(page)).entries()) {
        seen++;
        yield { line, place: `${page.key} at ${store.address} line ${at + 1}` };
      }
    }
    if (seen !== header.packs) throw invalid(place, `it has ${seen} lines, not ${header.packs}`);
  }
  return { header, lines: lines() };
}

function invalid(place: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_REFS_INVALID",
    message: `${place}: ${why}`,
    permanent: true,
    hint: "somebody copied or changed it: check who can write to the store",
  });
}
