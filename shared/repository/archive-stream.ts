// tar → zstd → age as a stream: files in, sealed bytes out, with the memory of a few pieces. What a run stores in pieces,
// and what `skep swarm backup` writes as one file.
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createZstdCompress } from "node:zlib";
import { pack as createTar, type Pack } from "tar-stream";
import { SkepError } from "../errors.ts";
import type { AgeHeader } from "./age.ts";
import { PayloadSealer } from "./age-sealer.ts";

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

export interface ArchiveStreamOptions {
  /** For this one archive only. */
  age: AgeHeader;
  files: AsyncIterable<ArchiveFile> | Iterable<ArchiveFile>;
  /** Called when a file is in. */
  onFile?: (file: ArchiveFile) => void;
  signal?: AbortSignal;
}

/**
 * The bytes of the age file, in pieces of any length. Throws SKEP_ARCHIVE_CONTENT_LENGTH (a content is not as long as it
 * said), what the contents throw, and the signal's reason.
 */
export async function* archiveStream(options: ArchiveStreamOptions): AsyncGenerator<Uint8Array> {
  const { age, signal } = options;
  const tar = createTar();
  const fill = async (): Promise<void> => {
    try {
      for await (const file of options.files) {
        signal?.throwIfAborted();
        await addFile(tar, file);
        options.onFile?.(file);
      }
      tar.finalize();
    } catch (error) {
      tar.destroy(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  };
  let sealed: Uint8Array[] = [age.header];
  const sealer = new PayloadSealer(age.fileKey, (bytes) => sealed.push(bytes));
  const take = (): Uint8Array[] => {
    const taken = sealed;
    sealed = [];
    return taken;
  };
  const compress = createZstdCompress();
  const filling = fill();
  const squeezing = pipeline(Readable.from(tar), compress, { ...(signal && { signal }) }).finally(() => {
    // Lets go of whoever still waits to write into the tar.
    tar.destroy(null);
  });
  // Both are waited for below, also when the consumer leaves early.
  const settled = Promise.allSettled([filling, squeezing]);
  try {
    for await (const piece of compress as AsyncIterable<Uint8Array>) {
      sealer.write(piece);
      yield* take();
    }
  } catch (error) {
    compress.destroy();
    const [filled] = await settled;
    signal?.throwIfAborted();
    // What a content threw is the cause of what the compressor says.
    throw filled.status === "rejected" ? filled.reason : error;
  } finally {
    compress.destroy();
    await settled;
  }
  const [filled, squeezed] = await settled;
  signal?.throwIfAborted();
  if (filled.status === "rejected") throw filled.reason;
  if (squeezed.status === "rejected") throw squeezed.reason;
  sealer.finish();
  yield* take();
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
