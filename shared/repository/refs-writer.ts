// Writes the refs of one snapshot: one sealed object, or pages and an object that names them.
import { digest } from "./blake3.ts";
import type { IndexPlace } from "./index-object.ts";
import { layout, newObjectId } from "./layout.ts";
import { encodePackLine, type PackRef, type RefsHeader } from "./refs.ts";
import type { StoredObject } from "./run.ts";
import { seal } from "./sealed.ts";

/** Plain bytes of lines in one object: some ms to seal, far below what a store takes. */
const pageBytes = 1024 * 1024;

/** `storedBytes`: of all its objects. */
export async function writeRefs(
  place: IndexPlace,
  runId: string,
  epoch: number,
  packs: AsyncIterable<PackRef>,
  signal: AbortSignal,
): Promise<{ refs: StoredObject; storedBytes: number }> {
  const { store, repositoryId, writerId } = place;
  const header: RefsHeader = {
    format: 1,
    repositoryId,
    runId,
    writerId,
    packs: 0,
    chunks: 0,
    plainBytes: 0,
    pages: [],
  };
  let storedBytes = 0;
  const put = async (text: string): Promise<StoredObject & { object: string }> => {
    const sealed = seal(Buffer.from(text, "utf8"), { type: "refs", repositoryId, epoch, writerId }, place.sealKey);
    const object = newObjectId();
    const key = layout.refs(runId, object);
    const { versionId } = await store.put(key, sealed, { signal });
    storedBytes += sealed.length;
    return { object, key, sizeBytes: sealed.length, digest: digest(sealed), versionId };
  };
  let lines: string[] = [];
  let lineBytes = 0;
  const putPage = async (): Promise<void> => {
    const { object, sizeBytes, digest: pageDigest } = await put(lines.join(""));
    header.pages.push({ object, sizeBytes, digest: pageDigest });
    lines = [];
    lineBytes = 0;
  };
  for await (const ref of packs) {
    header.packs++;
    header.chunks += ref.chunks.length;
    for (const [, , , plainBytes] of ref.chunks) header.plainBytes += plainBytes;
    const line = encodePackLine(ref);
    lines.push(line);
    lineBytes += line.length;
    if (lineBytes >= pageBytes) await putPage();
  }
  if (header.pages.length > 0 && lines.length > 0) await putPage();
  const { key, sizeBytes, digest: rootDigest, versionId } = await put(`${JSON.stringify(header)}\n${lines.join("")}`);
  return { refs: { key, sizeBytes, digest: rootDigest, versionId }, storedBytes };
}
