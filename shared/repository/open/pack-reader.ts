// Reads chunks out of packs by ranges: just the 64 KiB pieces of the age file that hold them. Every chunk's name is
// computed again from what came out.
import { zstdDecompressSync } from "node:zlib";
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import { payloadNonceBytes } from "../age-payload.ts";
import { keyedDigest } from "../blake3.ts";
import { maxChunkBytes } from "../chunker.ts";
import type { KeyBytes } from "../keys.ts";
import { layout } from "../layout.ts";
import { maxFrameBytes } from "../pack-format.ts";
import { PayloadOpener } from "./age.ts";

/** Where a pack lies and how its payload begins; the file key opens it, and is asked for once, when it is first read. */
export interface PackToRead {
  pack: string;
  sizeBytes: number;
  headerBytes: number;
  fileKey: () => Promise<Uint8Array>;
}

export interface FrameToRead {
  name: string;
  /** In the pack's plaintext. */
  start: number;
  frameBytes: number;
  plainBytes: number;
}

export class PackReader {
  readonly #store: Store;
  readonly #pack: PackToRead;
  readonly #place: string;
  readonly #signal: AbortSignal | undefined;
  #opener: Promise<PayloadOpener> | null = null;

  constructor(store: Store, pack: PackToRead, signal?: AbortSignal) {
    this.#store = store;
    this.#pack = pack;
    this.#place = `${layout.pack(pack.pack)} at ${store.address}`;
    this.#signal = signal;
  }

  /** Bytes [start, end) of the pack's plaintext. Throws SKEP_OBJECT_MISSING, SKEP_OBJECT_DAMAGED, SKEP_AGE_INVALID. */
  async read(start: number, end: number): Promise<Buffer> {
    const { headerBytes } = this.#pack;
    // The nonce comes with the first range that starts near it, or for itself.
    const opener = await (this.#opener ??= this.#readNonce());
    if (end > opener.plainBytes) throw this.#damaged(`it ends before byte ${end} of its plaintext`);
    const range = opener.sealedRange(start, end);
    const from = headerBytes + payloadNonceBytes;
    const sealed = await this.#getRange(from + range.start, from + range.end);
    const plain = opener.open(sealed, range.firstPiece);
    const skipped = start - range.firstPiece * 65536;
    return plain.subarray(skipped, skipped + end - start);
  }

  async #readNonce(): Promise<PayloadOpener> {
    const { headerBytes, sizeBytes, fileKey } = this.#pack;
    const nonce = await this.#getRange(headerBytes, headerBytes + payloadNonceBytes);
    return new PayloadOpener(await fileKey(), nonce, sizeBytes - headerBytes, this.#place);
  }

  async #getRange(start: number, end: number): Promise<Uint8Array> {
    const bytes = await this.#store.getRange(layout.pack(this.#pack.pack), start, end, this.#signal);
    if (bytes === null) {
      throw new SkepError({
        code: "SKEP_OBJECT_MISSING",
        message: `${this.#place} is missing`,
        permanent: true,
        hint: "it was deleted: look for it in the store's former versions; `skep check` tells what else it hurts",
      });
    }
    if (bytes.length !== end - start) throw this.#damaged(`it ends before byte ${end}`);
    return bytes;
  }

  #damaged(why: string): SkepError {
    return new SkepError({
      code: "SKEP_OBJECT_DAMAGED",
      message: `${this.#place}: ${why}`,
      permanent: true,
      hint: "it was cut short or replaced: look for it in the store's former versions",
    });
  }
}

/** The chunk's content, once its length and name fit. Throws SKEP_CHUNK_DAMAGED; `place` names the pack. */
export function openChunkFrame(frame: Uint8Array, chunk: FrameToRead, chunkNameKey: KeyBytes, place: string): Buffer {
  const damaged = (why: string, cause?: unknown): SkepError =>
    new SkepError({
      code: "SKEP_CHUNK_DAMAGED",
      message: `${place}: chunk ${chunk.name} at byte ${chunk.start} ${why}`,
      permanent: true,
      hint: "the pack was written wrongly or is not the one that the refs name; `skep check` tells what it hurts",
      cause,
    });
  if (chunk.plainBytes > maxChunkBytes || chunk.frameBytes > maxFrameBytes) throw damaged("is larger than may be");
  let plain: Buffer;
  try {
    // One output buffer that is large enough: by default node:zlib gathers pieces of 16 KiB (a quarter slower).
    const options = { maxOutputLength: Math.max(1, chunk.plainBytes), chunkSize: chunk.plainBytes + 1024 };
    plain = zstdDecompressSync(frame, options);
  } catch (error) {
    throw damaged("does not decompress", error);
  }
  if (plain.length !== chunk.plainBytes) throw damaged(`has ${plain.length} bytes, not ${chunk.plainBytes}`);
  if (keyedDigest(chunkNameKey, plain) !== chunk.name) throw damaged("has another content than its name says");
  return plain;
}
