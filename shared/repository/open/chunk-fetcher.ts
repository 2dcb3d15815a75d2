// Gets chunks by name for a reader that goes through a tree in order: what it asks for lies in a few packs, mostly one
// after the other. So a read takes the following chunks along, twice as many each time that proves right, and once
// reading is steady the next stretch is fetched and opened ahead. Holds so many bytes of opened chunks, most of them in
// the threads that opened them.
import { SkepError } from "../../errors.ts";
import { Slots } from "../../store/slots.ts";
import type { Store } from "../../store/store.ts";
import type { KeyBytes } from "../keys.ts";
import type { ChunkPlace, ChunkPlaces } from "./chunk-places.ts";
import { OpeningCrew, type OpenedWindow } from "./opening-crew.ts";
import { PackReader } from "./pack-reader.ts";
import { SharedRooms } from "./shared-rooms.ts";

/** Of a window, sealed and opened, unless one chunk has more. */
const maxWindowBytes = 4 * 1024 * 1024;
const firstWindowBytes = 64 * 1024;
const maxHeldBytes = 40 * 1024 * 1024;
/** Longer gaps of chunks that this snapshot does not need end a window. */
const maxGapBytes = 256 * 1024;
const maxWindowChunks = 256;
/** Under way, sealed and opened: twice 4 MiB each. */
const windowsAtOnce = 4;

interface Window {
  plainBytes: number;
  /** By name: where the chunk lies in the window's content. */
  chunks: Map<string, { start: number; end: number }>;
  opened: Promise<OpenedWindow>;
  /** Who is at it now: it is let go when it was dropped and nobody is. */
  users: number;
  isDropped: boolean;
}

interface OpenedPack {
  number: number;
  reader: PackReader;
  /** The last chunk of the last window that was read, and how long that window might be. */
  last: ChunkPlace | null;
  windowBytes: number;
}

export class ChunkFetcher {
  readonly #store: Store;
  readonly #places: ChunkPlaces;
  readonly #signal: AbortSignal | undefined;
  readonly #crew: OpeningCrew;
  readonly #slots = new Slots(windowsAtOnce);
  readonly #rooms = new SharedRooms();
  readonly #packs = new Map<number, OpenedPack>();
  /** Least recently used first. */
  readonly #windows = new Set<Window>();
  readonly #byName = new Map<string, Window>();
  #heldBytes = 0;

  constructor(store: Store, places: ChunkPlaces, chunkNameKey: KeyBytes, signal?: AbortSignal) {
    this.#store = store;
    this.#places = places;
    this.#signal = signal;
    this.#crew = new OpeningCrew(chunkNameKey);
  }

  close(): void {
    this.#crew.close();
  }

  /** Its bytes [from, from + length). Throws SKEP_CHUNK_UNKNOWN where the refs don't name it, and what reading throws. */
  async get(name: string, { from, length }: { from: number; length: number }): Promise<Buffer> {
    return await this.#use(name, async (window, { start }) => {
      const bytes = Buffer.allocUnsafe(length);
      bytes.set((await window.content()).subarray(start + from, start + from + length));
      return bytes;
    });
  }

  /** How long it is; begins to get it. */
  prepare(name: string): number {
    const { start, end } = placeIn(this.#windowOf(name), name);
    return end - start;
  }

  /** Its bytes [from, from + length) into an open file; false where they read back otherwise. Throws as get. */
  async write(
    name: string,
    { from, length }: { from: number; length: number },
    descriptor: number,
    position: number,
  ): Promise<boolean> {
    return await this.#use(name, (window, { start }) =>
      window.write(start + from, start + from + length, descriptor, position),
    );
  }

  async #use<T>(
    name: string,
    act: (window: OpenedWindow, place: { start: number; end: number }) => Promise<T>,
  ): Promise<T> {
    const window = this.#windowOf(name);
    window.users++;
    try {
      return await act(await window.opened, placeIn(window, name));
    } finally {
      window.users--;
      letGo(window);
    }
  }

  /** That has the chunk, or will. */
  #windowOf(name: string): Window {
    const held = this.#byName.get(name);
    if (held !== undefined) {
      this.#windows.delete(held);
      this.#windows.add(held);
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
    const window = this.#read(pack, chunk);
    if (pack.windowBytes === maxWindowBytes) this.#readAhead(pack);
    return window;
  }

  /** Begins to read the window that starts with `chunk`. */
  #read(pack: OpenedPack, chunk: ChunkPlace): Window {
    const frames = this.#chooseFrames(pack, chunk);
    const opened = this.#slots.use(this.#signal, () =>
      this.#rooms.use(async (take) => this.#crew.open(await pack.reader.read(frames, take))),
    );
    const chunks: Window["chunks"] = new Map();
    let plainBytes = 0;
    for (const frame of frames) {
      chunks.set(frame.name, { start: plainBytes, end: plainBytes + frame.plainBytes });
      plainBytes += frame.plainBytes;
    }
    const window: Window = { plainBytes, chunks, opened, users: 0, isDropped: false };
    // Whoever waits for it learns of it; of one that was read ahead perhaps nobody does, who asks again reads again.
    opened.catch(() => {
      this.#drop(window);
    });
    this.#windows.add(window);
    for (const name of chunks.keys()) this.#byName.set(name, window);
    this.#heldBytes += plainBytes;
    for (const oldest of this.#windows) {
      if (this.#heldBytes <= maxHeldBytes || oldest === window) break;
      this.#drop(oldest);
    }
    return window;
  }

  #readAhead(pack: OpenedPack): void {
    const { last } = pack;
    if (last === null) return;
    const [next] = this.#places.following(last, 1);
    if (next === undefined || this.#byName.has(next.name)) return;
    if (next.start - (last.start + last.frameBytes) <= maxGapBytes) this.#read(pack, next);
  }

  #drop(window: Window): void {
    if (!this.#windows.delete(window)) return;
    this.#heldBytes -= window.plainBytes;
    for (const name of window.chunks.keys()) if (this.#byName.get(name) === window) this.#byName.delete(name);
    window.isDropped = true;
    letGo(window);
  }

  #chooseFrames(pack: OpenedPack, chunk: ChunkPlace): ChunkPlace[] {
    const gap = pack.last === null ? chunk.start : chunk.start - (pack.last.start + pack.last.frameBytes);
    const isNext = gap >= 0 && gap <= maxGapBytes;
    pack.windowBytes = isNext ? Math.min(maxWindowBytes, pack.windowBytes * 2) : firstWindowBytes;
    const frames = [chunk];
    let end = chunk.start + chunk.frameBytes;
    let plainBytes = chunk.plainBytes;
    if (end - chunk.start < pack.windowBytes) {
      for (const next of this.#places.following(chunk, maxWindowChunks)) {
        const nextEnd = next.start + next.frameBytes;
        plainBytes += next.plainBytes;
        if (next.start - end > maxGapBytes || nextEnd - chunk.start > pack.windowBytes) break;
        if (plainBytes > Math.max(pack.windowBytes, maxWindowBytes) || this.#byName.has(next.name)) break;
        frames.push(next);
        end = nextEnd;
      }
    }
    pack.last = frames.at(-1) ?? chunk;
    return frames;
  }

  #openPack(number: number): OpenedPack {
    const opened = this.#packs.get(number);
    if (opened !== undefined) return opened;
    const pack = this.#places.packs[number];
    if (pack === undefined) throw new TypeError(`no pack has number ${number}`);
    const reader = new PackReader(this.#store, pack, this.#signal);
    const made: OpenedPack = { number, reader, last: null, windowBytes: firstWindowBytes };
    this.#packs.set(number, made);
    return made;
  }
}

function placeIn(window: Window, name: string): { start: number; end: number } {
  const place = window.chunks.get(name);
  if (place === undefined) throw new TypeError(`chunk ${name} is not in its window`);
  return place;
}

function letGo({ isDropped, users, opened }: Window): void {
  if (!isDropped || users > 0) return;
  void opened.then(
    (window) => {
      window.drop();
    },
    () => undefined, // there is nothing to let go
  );
}
