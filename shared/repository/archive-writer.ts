// A swarm archive: tar → zstd → age, whole each time, so that `age -d -i epoch.txt | zstd -d | tar x` opens it with no
// Skep at hand. One larger than a store takes in one put is cut, as `split` would, into pieces that `cat` puts together.
import { digest } from "./blake3.ts";
import { layout, newObjectId } from "./layout.ts";
import type { StoredObject } from "./run.ts";
import { SkepError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { makeAgeHeader } from "./age.ts";
import { archiveStream, type ArchiveFile } from "./archive-stream.ts";

export type { ArchiveFile } from "./archive-stream.ts";

/** Of each piece but the last: half of what a store takes in one put, and what is held in memory meanwhile. */
export const archivePieceBytes = 32 * 1024 * 1024;
/** 32 GiB compressed. */
export const maxArchivePieces = 1024;

/**
 * The pieces in order, at least one. Throws SKEP_ARCHIVE_TOO_LARGE, SKEP_ARCHIVE_CONTENT_LENGTH (a content is not as long
 * as it said), what the contents and the store throw, and the signal's reason; pieces that were put by then are named
 * nowhere.
 */
export async function writeArchive(options: {
  store: Store;
  runId: string;
  epoch: { number: number; recipient: string };
  files: AsyncIterable<ArchiveFile> | Iterable<ArchiveFile>;
  signal?: AbortSignal;
  /** Names its object, where that must be known before; else a fresh one. */
  id?: string;
  pieceBytes?: number;
  maxPieces?: number;
}): Promise<{ archive: StoredObject[]; sourceBytes: number }> {
  const { store, runId, signal, pieceBytes = archivePieceBytes, maxPieces = maxArchivePieces } = options;
  const age = await makeAgeHeader([options.epoch.recipient]);
  const id = options.id ?? newObjectId();
  const archive: StoredObject[] = [];
  let sourceBytes = 0;
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  const put = async (bytes: Uint8Array): Promise<void> => {
    if (archive.length === maxPieces) throw tooLarge(runId, maxPieces * pieceBytes);
    const key = layout.archive(runId, id, archive.length);
    const stored = await store.put(key, bytes, { ...(signal && { signal }) });
    archive.push({ key, sizeBytes: bytes.length, digest: digest(bytes), versionId: stored.versionId });
  };
  const onFile = ({ sizeBytes }: ArchiveFile): void => {
    sourceBytes += sizeBytes;
  };
  for await (const sealed of archiveStream({ age, files: options.files, onFile, ...(signal && { signal }) })) {
    held.push(sealed);
    heldBytes += sealed.length;
    if (heldBytes < pieceBytes) continue;
    const bytes = Buffer.concat(held, heldBytes);
    let at = 0;
    // Strictly more: the last piece is never empty.
    for (; bytes.length - at > pieceBytes; at += pieceBytes) await put(bytes.subarray(at, at + pieceBytes));
    held = [bytes.subarray(at)];
    heldBytes = bytes.length - at;
  }
  await put(Buffer.concat(held, heldBytes));
  return { archive, sourceBytes };
}

function tooLarge(runId: string, maxBytes: number): SkepError {
  return new SkepError({
    code: "SKEP_ARCHIVE_TOO_LARGE",
    message: `an archive of run ${runId} is larger than ${maxBytes} bytes, compressed`,
    permanent: true,
    hint: "lower the swarm's snapshot interval and task history limit: docker swarm update --snapshot-interval 1000 --task-history-limit 1",
  });
}
