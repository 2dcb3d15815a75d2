// Reads a swarm archive: age → zstd → tar, checked against size and digest that the run object names.
import { Readable } from "node:stream";
import { createZstdDecompress } from "node:zlib";
import { extract } from "tar-stream";
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import { maxArchiveBytes } from "../archive-writer.ts";
import { getChecked } from "../stored-object.ts";
import type { StoredObject } from "../run.ts";
import { decryptAge } from "./age.ts";

export interface ArchivedFile {
  /** Relative, no `..`. */
  path: string;
  mode: number;
  mtimeMs: number;
  sizeBytes: number;
  /** To be read to its end, or left, before the next file is asked for. */
  content: AsyncIterable<Uint8Array>;
}

/**
 * `identity`: of the epoch that the part names. Throws SKEP_OBJECT_MISSING, SKEP_OBJECT_DAMAGED,
 * SKEP_IDENTITY_DOES_NOT_FIT, SKEP_AGE_INVALID, SKEP_ARCHIVE_INVALID.
 */
export async function* readArchive(options: {
  store: Store;
  archive: StoredObject;
  identity: string;
  signal?: AbortSignal;
}): AsyncGenerator<ArchivedFile> {
  const { store, archive, signal } = options;
  const place = `${archive.key} at ${store.address}`;
  const bytes = await getChecked(store, archive, maxArchiveBytes, signal);
  const compressed = await decryptAge(bytes, [options.identity], place);
  const invalid = (why: string, cause?: unknown): SkepError =>
    new SkepError({
      code: "SKEP_ARCHIVE_INVALID",
      message: `${place}: ${why}`,
      permanent: true,
      hint: "the archive was not written by Skep, or by a newer one",
      cause,
    });
  const tar = extract();
  const decompressor = createZstdDecompress();
  const source = Readable.from([compressed]);
  source.pipe(decompressor).pipe(tar);
  decompressor.on("error", (error) => {
    tar.destroy(error);
  });
  const stop = (): void => {
    tar.destroy(new Error("aborted"));
  };
  signal?.addEventListener("abort", stop, { once: true });
  let insideContent = false;
  try {
    for await (const entry of tar) {
      const { name, type, mode, mtime, size } = entry.header;
      if (type !== "file") throw invalid(`it holds a ${type}, ${name}`);
      if (name.startsWith("/") || name.split("/").includes("..")) throw invalid(`it holds the path ${name}`);
      insideContent = true;
      yield {
        path: name,
        mode: mode & 0o7777,
        mtimeMs: mtime.getTime(),
        sizeBytes: size,
        content: entry as AsyncIterable<Uint8Array>,
      };
      insideContent = false;
      entry.resume();
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof SkepError || insideContent) throw error;
    throw invalid("it does not unpack", error);
  } finally {
    signal?.removeEventListener("abort", stop);
    source.destroy();
    decompressor.destroy();
    tar.destroy(null);
  }
}
