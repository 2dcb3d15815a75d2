// Reads a swarm archive: age → zstd → tar, file by file. That of a run is checked, piece by piece, against the sizes and
// digests that the run object names.
import { Readable } from "node:stream";
import { createZstdDecompress } from "node:zlib";
import { extract } from "tar-stream";
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import { getChecked } from "../stored-object.ts";
import type { StoredObject } from "../run.ts";
import { openAgeHeader } from "./age.ts";
import { openAgeStream } from "./age-stream.ts";

export interface ArchivedFile {
  /** Relative, no `..`. */
  path: string;
  mode: number;
  mtimeMs: number;
  sizeBytes: number;
  /** To be read to its end, or left, before the next file is asked for. */
  content: AsyncIterable<Uint8Array>;
}

/** What a store takes. */
const maxPieceBytes = 64 * 1024 * 1024;

/**
 * `archive`: its pieces in order; `identity`: of the epoch that the part names. Throws SKEP_OBJECT_MISSING,
 * SKEP_OBJECT_DAMAGED, SKEP_IDENTITY_DOES_NOT_FIT, SKEP_AGE_INVALID, SKEP_ARCHIVE_INVALID.
 */
export async function* readArchive(options: {
  store: Store;
  archive: readonly StoredObject[];
  identity: string;
  signal?: AbortSignal;
}): AsyncGenerator<ArchivedFile> {
  const { store, archive, identity, signal } = options;
  const place = `${archive[0]?.key ?? "an archive"} at ${store.address}`;
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (const piece of archive) yield await getChecked(store, piece, maxPieceBytes, signal);
  }
  const unlock = (header: Uint8Array): Promise<Uint8Array> => openAgeHeader(header, [identity], place);
  yield* unpackArchive(openAgeStream(pieces(), unlock, place), place, signal);
}

/** `compressed`: what the age file holds. Throws SKEP_ARCHIVE_INVALID, and what the source throws. */
export async function* unpackArchive(
  compressed: AsyncIterable<Uint8Array>,
  place: string,
  signal?: AbortSignal,
): AsyncGenerator<ArchivedFile> {
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
  const source = Readable.from(compressed);
  source.on("error", (error) => {
    decompressor.destroy(error);
  });
  decompressor.on("error", (error) => {
    tar.destroy(error);
  });
  source.pipe(decompressor).pipe(tar);
  const stop = (): void => {
    tar.destroy(new Error("aborted"));
  };
  signal?.addEventListener("abort", stop, { once: true });
  const explained = (error: unknown): unknown =>
    error instanceof SkepError ? error : invalid("it does not unpack", error);
  /** An end within a file is the fault of that file's stream. */
  async function* contentOf(entry: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield* entry;
    } catch (error) {
      signal?.throwIfAborted();
      throw explained(error);
    }
  }
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
        content: contentOf(entry as AsyncIterable<Uint8Array>),
      };
      insideContent = false;
      entry.resume();
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw insideContent ? error : explained(error);
  } finally {
    signal?.removeEventListener("abort", stop);
    source.destroy();
    decompressor.destroy();
    tar.destroy(null);
  }
}
