// Gets chunks by name for a reader that goes through a tree in order: what it asks for lies in a few packs, mostly one
// after the other, so a read takes the following chunks along, twice as many each time it proves right. Holds at most
// so many bytes of frames and of opened chunks.
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import type { KeyBytes } from "../keys.ts";
import { layout } from "../layout.ts";
import type { ChunkPlace, ChunkPlaces } from "./chunk-places.ts";
import { openChunkFrame, PackReader } from "./pack-reader.ts";

const maxWindowBytes = 8 * 1024 * 1024;
const firstWindowBytes = 64 * 1024;
/** Windows and opened chunks held: about 40 and 20 MiB. */
const maxHeldWindowBytes = 40 * 1024 * 1024;
const maxHeldChunkBytes = 20 * 1024 * 1024;
/** Longer gaps of chunks that this snapshot does not need end a window. */
const maxGapBytes = 256 * 1024;

interface Window {
  pack: number;
  start: number;
  end: number;
  bytes: Buffer;
}

interface OpenedPack {
  reader: PackReader;
  place: string;
  /** Where the last window ended, and how long it was. */
  lastEnd: number;
  windowBytes: number;
}

export class ChunkFetcher {
  readonly #store: Store;
  readonly #places: ChunkPlaces;
  readonly #chunkNameKey: KeyBytes;
  readonly #signal: AbortSignal | undefined;
  readonly #packs = new Map<number, OpenedPack>();
  #windows: Window[] = [];
  #windowBytes = 0;
  /** Least recently used first. */
  readonly #chunks = new Map<string, Buffer>();
  #chunkBytes = 0;

  constructor(store: Store, places: ChunkPlaces, chunkNameKey: KeyBytes, signal?: AbortSignal) {
    this.#store = store;
    this.#places = places;
    this.#chunkNameKey = chunkNameKey;
    this.#signal = signal;
  }

  /** Its content, not to be changed. Throws SKEP_CHUNK_UNKNOWN where the refs don't name it, and what reading throws. */
  async get(name: string): Promise<Buffer> {
    const held = this.#chunks.get(name);
    if (held !== undefined) {
      this.#chunks.delete(name);
      this.#chunks.set(name, held);
      return held;
    }
    const chunk = this.#places.find(name);
    if (chunk === null) {
      throw new SkepError({
        code: "SKEP_CHUNK_UNKNOWN",
        message: `the manifest needs chunk ${name}, which the snapshot's refs don't name`,
        permanent: true,
        hint: "manifest and refs are of different snapshots, or damaged: `skep check` tells which others are well",
      });
    }
    const pack = this.#openPack(chunk.pack);
    const frame = await this.#getFrame(pack, chunk);
    const plain = openChunkFrame(frame, chunk, this.#chunkNameKey, pack.place);
    this.#chunks.set(name, plain);
    this.#chunkBytes += plain.length;
    for (const [oldest, bytes] of this.#chunks) {
      if (this.#chunkBytes <= maxHeldChunkBytes || oldest === name) break;
      this.#chunks.delete(oldest);
      this.#chunkBytes -= bytes.length;
    }
    return plain;
  }

  async #getFrame(pack: OpenedPack, chunk: ChunkPlace): Promise<Buffer> {
    const end = chunk.start + chunk.frameBytes;
    const at = this.#windows.findIndex(
      (window) => window.pack === chunk.pack && window.start <= chunk.start && end <= window.end,
    );
    let [window] = at < 0 ? [] : this.#windows.splice(at, 1);
    if (window === undefined) {
      const windowEnd = this.#chooseEnd(pack, chunk);
      const bytes = await pack.reader.read(chunk.start, windowEnd);
      window = { pack: chunk.pack, start: chunk.start, end: windowEnd, bytes };
      this.#windowBytes += bytes.length;
    }
    this.#windows.push(window);
    while (this.#windowBytes > maxHeldWindowBytes && this.#windows.length > 1) {
      this.#windowBytes -= this.#windows.shift()?.bytes.length ?? 0;
    }
    return window.bytes.subarray(chunk.start - window.start, end - window.start);
  }

  #chooseEnd(pack: OpenedPack, chunk: ChunkPlace): number {
    const isNext = chunk.start >= pack.lastEnd && chunk.start - pack.lastEnd <= maxGapBytes;
    pack.windowBytes = isNext ? Math.min(maxWindowBytes, pack.windowBytes * 2) : firstWindowBytes;
    let end = chunk.start + chunk.frameBytes;
    if (end - chunk.start < pack.windowBytes) {
      for (const next of this.#places.following(chunk, 256)) {
        const nextEnd = next.start + next.frameBytes;
        if (next.start - end > maxGapBytes || nextEnd - chunk.start > pack.windowBytes) break;
        end = nextEnd;
      }
    }
    pack.windowBytes = Math.max(pack.windowBytes, end - chunk.start);
    pack.lastEnd = end;
    return end;
  }

  #openPack(number: number): OpenedPack {
    const opened = this.#packs.get(number);
    if (opened !== undefined) return opened;
    const pack = this.#places.packs[number];
    if (pack === undefined) throw new TypeError(`no pack has number ${number}`);
    const place = `${layout.pack(pack.pack)} at ${this.#store.address}`;
    const reader = new PackReader(this.#store, pack, this.#signal);
    const made = { reader, place, lastEnd: 0, windowBytes: firstWindowBytes };
    this.#packs.set(number, made);
    return made;
  }
}
