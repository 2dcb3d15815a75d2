// Reads packs by ranges: just the 64 KiB pieces of the age file that hold the chunks that are wanted.
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import { payloadNonceBytes } from "../age-payload.ts";
import { layout } from "../layout.ts";
import { PayloadOpener } from "./payload-opener.ts";
import type { FrameToRead, SealedWindow } from "./sealed-window.ts";

/** Where a pack lies and how its payload begins; the file key opens it, and is asked for once, when it is first read. */
export interface PackToRead {
  pack: string;
  sizeBytes: number;
  headerBytes: number;
  fileKey: () => Promise<Uint8Array>;
}

export class PackReader {
  readonly #store: Store;
  readonly #pack: PackToRead;
  readonly #place: string;
  readonly #signal: AbortSignal | undefined;
  #fileKey: Promise<Uint8Array> | null = null;
  #nonce: Promise<Uint8Array> | null = null;

  constructor(store: Store, pack: PackToRead, signal?: AbortSignal) {
    this.#store = store;
    this.#pack = pack;
    this.#place = `${layout.pack(pack.pack)} at ${store.address}`;
    this.#signal = signal;
  }

  /**
   * The pieces that hold the frames, which are in order; in the memory that `take` gives for so many bytes, if the store can.
   * Throws SKEP_OBJECT_MISSING, SKEP_OBJECT_DAMAGED.
   */
  async read(frames: FrameToRead[], take?: (bytes: number) => Uint8Array): Promise<SealedWindow> {
    const { headerBytes, sizeBytes } = this.#pack;
    const fileKey = await (this.#fileKey ??= this.#pack.fileKey());
    const [first, last] = [frames[0], frames.at(-1)];
    if (first === undefined || last === undefined) throw new TypeError("a window has a frame");
    const payloadBytes = sizeBytes - headerBytes;
    // The nonce matters to what is opened, not to where it lies.
    const layoutOfPieces = new PayloadOpener(fileKey, new Uint8Array(payloadNonceBytes), payloadBytes, this.#place);
    const end = last.start + last.frameBytes;
    if (end > layoutOfPieces.plainBytes) throw this.#damaged(`it ends before byte ${end} of its plaintext`);
    const range = layoutOfPieces.sealedRange(first.start, end);
    const from = headerBytes + payloadNonceBytes;
    this.#nonce ??= this.#getRange(headerBytes, from);
    const room = take?.(range.end - range.start);
    const [nonce, sealed] = await Promise.all([
      this.#nonce,
      this.#getRange(from + range.start, from + range.end, room),
    ]);
    return { place: this.#place, fileKey, nonce, payloadBytes, sealed, firstPiece: range.firstPiece, frames };
  }

  async #getRange(start: number, end: number, into?: Uint8Array): Promise<Uint8Array> {
    const bytes = await this.#store.getRange(layout.pack(this.#pack.pack), start, end, this.#signal, into);
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
