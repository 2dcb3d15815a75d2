// A swarm archive: tar → zstd → age in one object, small and whole each time, so that
// `age -d -i epoch.txt | zstd -d | tar x` opens it with no Skep at hand.
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createZstdCompress } from "node:zlib";
import { pack as createTar, type Pack } from "tar-stream";
import { SkepError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { makeAgeHeader, PayloadSealer } from "./age.ts";
import { digest } from "./blake3.ts";
import { layout, newObjectId } from "./layout.ts";
import type { StoredObject } from "./run.ts";

export interface ArchiveFile {
  /** Relative, `/` between segments, no `..`. */
  path: string;
  /** Permission bits. */
  mode: number;
  mtimeMs: number;
  sizeBytes: number;
  /** Exactly sizeBytes. */
  content: AsyncIterable<Uint8Array> | Uint8Array;
}

/** What a store takes in one put, and what is held in memory while it is made. */
export const maxArchiveBytes = 64 * 1024 * 1024;

/**
 * Throws SKEP_ARCHIVE_TOO_LARGE, SKEP_ARCHIVE_CONTENT_LENGTH (a content is not as long as it said), what the
 * contents and the store throw, and the signal's reason.
 */
export async function writeArchive(options: {
  store: Store;
  runId: string;
  epoch: { number: number; recipient: string };
  files: AsyncIterable<ArchiveFile> | Iterable<ArchiveFile>;
  signal?: AbortSignal;
}): Promise<{ archive: StoredObject; sourceBytes: number }> {
  const { store, signal } = options;
  const { header, fileKey } = await makeAgeHeader([options.epoch.recipient]);
  const parts: Uint8Array[] = [header];
  let sizeBytes = header.length;
  const sealer = new PayloadSealer(fileKey, (sealed) => {
    parts.push(sealed);
    sizeBytes += sealed.length;
  });
  let sourceBytes = 0;
  const tar = createTar();
  const fill = async (): Promise<void> => {
    try {
      for await (const file of options.files) {
        signal?.throwIfAborted();
        await addFile(tar, file);
        sourceBytes += file.sizeBytes;
      }
      tar.finalize();
    } catch (error) {
      tar.destroy(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  };
  const drain = pipeline(
    Readable.from(tar),
    createZstdCompress(),
    async (compressed: AsyncIterable<Uint8Array>) => {
      for await (const piece of compressed) {
        sealer.write(piece);
        if (sizeBytes > maxArchiveBytes) throw tooLarge(options.runId);
      }
      sealer.finish();
    },
    { ...(signal && { signal }) },
  ).finally(() => {
    // Lets go of whoever still waits to write into the tar.
    tar.destroy(null);
  });
  const [filled, drained] = await Promise.allSettled([fill(), drain]);
  signal?.throwIfAborted();
  if (drained.status === "rejected" && drained.reason instanceof SkepError) throw drained.reason;
  if (filled.status === "rejected") throw filled.reason;
  if (drained.status === "rejected") throw drained.reason;
  if (sizeBytes > maxArchiveBytes) throw tooLarge(options.runId);

  const bytes = Buffer.concat(parts, sizeBytes);
  const key = layout.archive(options.runId, newObjectId());
  const stored = await store.put(key, bytes, { ...(signal && { signal }) });
  return { archive: { key, sizeBytes, digest: digest(bytes), versionId: stored.versionId }, sourceBytes };
}

function tooLarge(runId: string): SkepError {
  return new SkepError({
    code: "SKEP_ARCHIVE_TOO_LARGE",
    message: `an archive of run ${runId} is larger than ${maxArchiveBytes / 1024 / 1024} MiB, compressed`,
    permanent: true,
    hint: "an archive holds Raft state and definitions; lower the swarm's task history limit, or report this",
  });
}

async function addFile(tar: Pack, file: ArchiveFile): Promise<void> {
  if (file.path.startsWith("/") || file.path.split("/").includes("..")) {
    throw new TypeError(`an archive takes relative paths only, not ${file.path}`);
  }
  const header = { name: file.path, mode: file.mode, mtime: new Date(file.mtimeMs), size: file.sizeBytes };
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const entry = tar.entry({ ...header, type: "file" }, (error) => {
    if (error) reject(error);
    else resolve(undefined);
  });
  entry.on("error", reject);
  let written = 0;
  const wrongLength = (): SkepError =>
    new SkepError({
      code: "SKEP_ARCHIVE_CONTENT_LENGTH",
      message: `${file.path} should have ${file.sizeBytes} bytes, but ${written} were read`,
      permanent: false,
      hint: "it changed while it was read; the next attempt reads it again",
    });
  const write = async (bytes: Uint8Array): Promise<void> => {
    written += bytes.length;
    if (written > file.sizeBytes) throw wrongLength();
    if (entry.write(bytes)) return;
    const drained = new Promise<void>((proceed) => {
      entry.once("drain", () => {
        proceed();
      });
    });
    await Promise.race([drained, promise]);
  };
  try {
    if (file.content instanceof Uint8Array) await write(file.content);
    else for await (const piece of file.content) await write(piece);
    if (written !== file.sizeBytes) throw wrongLength();
  } catch (error) {
    promise.catch(() => undefined); // the entry's own end no longer matters
    throw error;
  }
  entry.end(null);
  await promise;
}
