// Reads one snapshot back: its tree in order, and the content of each file. What comes out was checked: digests of
// manifest and refs, the names of all chunks, the digest of the tree's lines and their number.
import { zstdDecompressSync } from "node:zlib";
import type { SkepError } from "../../errors.ts";
import { shapeFaults } from "../../fault-list.ts";
import type { Store } from "../../store/store.ts";
import { Digester } from "../blake3.ts";
import { decodeContinuationLine, decodeEntryLine, manifestInvalid } from "../manifest-lines.ts";
import { manifestRootSchema, type Extent, type ManifestEntry, type ManifestRoot } from "../manifest.ts";
import { pathBytes, sortKeyOf } from "../path-order.ts";
import type { StoredObject } from "../run.ts";
import { getChecked } from "../stored-object.ts";
import { findHeaderEnd, openAgePayload } from "./age.ts";
import { ChunkFetcher } from "./chunk-fetcher.ts";
import { ChunkPlaces } from "./chunk-places.ts";
import { maxManifestRootBytes, type SnapshotKeys } from "./file-keys.ts";
import { readRefs } from "./refs-reader.ts";

/** A path of 1 MiB, 4096 extents and xattrs fit. */
const maxLineBytes = 8 * 1024 * 1024;
/** Extents of one file that are fetched before they are asked for: chunks of at most 4 MiB. */
const extentsAhead = 4;
const zeros = Buffer.alloc(256 * 1024);

/** Content comes as bytes, or as a number of zero bytes that may become a hole. */
export type ContentPiece = { bytes: Uint8Array } | { zeroBytes: number };

/** Bytes that lie with the thread that opened them, which writes them into a file by itself. */
export interface WritablePiece {
  writableBytes: number;
  /** False where they read back otherwise. Throws what reading and the file system throw. */
  writeTo: (descriptor: number, position: number) => Promise<boolean>;
}

/** A shorter stretch is sooner handed over than ordered to be written. */
const minWritableBytes = 128 * 1024;

export interface SnapshotEntry extends ManifestEntry {
  /** Where the line after this entry's first one begins, in the manifest's lines: leads to further extents. */
  nextLineAt: number;
}

export interface Snapshot {
  root: ManifestRoot;
  /** In path order, a folder before what is in it. Ends with SKEP_MANIFEST_INVALID unless all of it was right. */
  entries(): AsyncIterable<SnapshotEntry>;
  /**
   * From the entry on that has this sort key, or would stand before it, and perhaps some before: found by halving, so that
   * of a large manifest a few chunks are read. Every chunk is checked, the digest of the whole is not.
   */
  entriesFrom(sortKey: Buffer): AsyncIterable<SnapshotEntry>;
  /** The file's content from its beginning to its end; nothing for what is no file. */
  content(entry: SnapshotEntry): AsyncIterable<Uint8Array>;
  /** The same; zero bytes that lie nowhere come as their number. */
  pieces(entry: SnapshotEntry): AsyncIterable<ContentPiece>;
  /** The same for who writes a file: long stretches come as what can be written. */
  writablePieces(entry: SnapshotEntry): AsyncIterable<ContentPiece | WritablePiece>;
  /** Where the file's content lies, some thousand extents at a time; reads none of it. */
  extents(entry: SnapshotEntry): AsyncIterable<Extent[]>;
  /** What one extent, or a stretch of one, stands for. */
  read(extent: Extent): Promise<ContentPiece>;
  close(): void;
}

/**
 * Throws SKEP_OBJECT_MISSING, SKEP_OBJECT_DAMAGED, SKEP_SEALED_INVALID, SKEP_AGE_INVALID, SKEP_REFS_INVALID,
 * SKEP_MANIFEST_INVALID, SKEP_RESTORE_KEYS_INCOMPLETE; reading also SKEP_CHUNK_DAMAGED, SKEP_CHUNK_UNKNOWN.
 */
export async function openSnapshot(options: {
  store: Store;
  repositoryId: string;
  writerId: string;
  manifest: StoredObject;
  refs: StoredObject;
  keys: SnapshotKeys;
  signal?: AbortSignal;
}): Promise<Snapshot> {
  const { store, repositoryId, writerId, keys, signal } = options;
  const place = `${options.manifest.key} at ${store.address}`;
  const root = await readRoot(store, options.manifest, keys.manifest, signal);
  if (root.repositoryId !== repositoryId || root.writerId !== writerId) {
    throw manifestInvalid(place, `it belongs to writer ${root.writerId} of repository ${root.repositoryId}`);
  }
  const sealKey = Buffer.from(keys.sealKey, "base64");
  const refs = await readRefs({ store, repositoryId, writerId, sealKey }, options.refs, signal);
  if (refs.header.runId !== root.runId) {
    throw manifestInvalid(place, `it is of run ${root.runId}, its refs are of ${refs.header.runId}`);
  }
  const places = new ChunkPlaces();
  try {
    await places.load(refs.packs, keys.packs, options.refs.key);
  } catch (error) {
    places.close();
    throw error;
  }
  const fetcher = new ChunkFetcher(store, places, Buffer.from(keys.chunkNameKey, "base64"), signal);
  return new OpenedSnapshot(root, place, places, fetcher);
}

async function readRoot(
  store: Store,
  manifest: StoredObject,
  fileKey: string,
  signal: AbortSignal | undefined,
): Promise<ManifestRoot> {
  const place = `${manifest.key} at ${store.address}`;
  const file = await getChecked(store, manifest, maxManifestRootBytes, signal);
  const payload = file.subarray(findHeaderEnd(file) ?? file.length);
  const compressed = openAgePayload(payload, Buffer.from(fileKey, "base64"), place);
  let json: unknown;
  try {
    json = JSON.parse(zstdDecompressSync(compressed, { maxOutputLength: 4 * maxManifestRootBytes }).toString("utf8"));
  } catch (error) {
    throw manifestInvalid(place, "its root does not unpack", error);
  }
  const root = manifestRootSchema.safeParse(json);
  if (!root.success) throw manifestInvalid(place, `its root has another shape: ${shapeFaults(root.error)}`);
  return root.data;
}

class OpenedSnapshot implements Snapshot {
  readonly root: ManifestRoot;
  readonly #place: string;
  readonly #places: ChunkPlaces;
  readonly #fetcher: ChunkFetcher;

  constructor(root: ManifestRoot, place: string, places: ChunkPlaces, fetcher: ChunkFetcher) {
    this.root = root;
    this.#place = place;
    this.#places = places;
    this.#fetcher = fetcher;
  }

  close(): void {
    this.#fetcher.close();
    this.#places.close();
  }

  async *entries(): AsyncGenerator<SnapshotEntry> {
    const digester = new Digester();
    let count = 0;
    for await (const entry of this.#entriesOf(this.#lines(0, digester))) {
      count++;
      yield entry;
    }
    if (count !== this.root.entries) {
      throw manifestInvalid(this.#place, `it has ${count} entries, not ${this.root.entries}`);
    }
    if (digester.hex() !== this.root.linesDigest) throw manifestInvalid(this.#place, "its lines have another digest");
  }

  async *entriesFrom(sortKey: Buffer): AsyncGenerator<SnapshotEntry> {
    const starts: number[] = [];
    let length = 0;
    for (const extent of this.root.extents) {
      starts.push(length);
      length += extent[2];
    }
    let from = 0;
    for (let low = 0, high = starts.length - 1; low < high;) {
      const middle = (low + high + 1) >> 1;
      const first = await this.#firstEntryAfter(starts[middle] ?? 0);
      if (first !== null && Buffer.compare(first.sortKey, sortKey) <= 0) {
        low = middle;
        from = first.at;
      } else high = middle - 1;
    }
    yield* this.#entriesOf(this.#lines(from));
  }

  /** The first entry whose line begins behind this byte, which is in the middle of a line. */
  async #firstEntryAfter(byte: number): Promise<{ sortKey: Buffer; at: number } | null> {
    let at: number | null = null;
    for await (const { line, endsAt } of this.#lines(byte)) {
      // What carries on with the extents of a file before is no entry.
      if (at !== null && !line.startsWith('{"extents":')) {
        return { sortKey: sortKeyOf(decodeEntryLine(line, `${this.#place} at byte ${at}`)), at };
      }
      at = endsAt;
    }
    return null;
  }

  /** From an entry's first line on. */
  async *#entriesOf(lines: AsyncIterable<{ line: string; endsAt: number }>): AsyncGenerator<SnapshotEntry> {
    let count = 0;
    let before: Buffer | null = null;
    let continuations = 0;
    for await (const { line, endsAt } of lines) {
      if (continuations > 0) {
        continuations--;
        continue;
      }
      const place = `${this.#place} entry ${++count}`;
      const entry = decodeEntryLine(line, place);
      checkEntry(entry, place);
      const sortKey = sortKeyOf(entry);
      if (before !== null && Buffer.compare(before, sortKey) >= 0) throw manifestInvalid(place, "it is out of order");
      before = sortKey;
      continuations = entry.moreLines ?? 0;
      yield { ...entry, nextLineAt: endsAt };
    }
    if (continuations > 0) throw manifestInvalid(this.#place, "it ends within an entry");
  }

  async *content(entry: SnapshotEntry): AsyncGenerator<Uint8Array> {
    for await (const piece of this.pieces(entry)) {
      if ("bytes" in piece) {
        yield piece.bytes;
        continue;
      }
      for (let left = piece.zeroBytes; left > 0; left -= zeros.length) yield zeros.subarray(0, left);
    }
  }

  async *pieces(entry: SnapshotEntry): AsyncGenerator<ContentPiece> {
    yield* this.#inOrder(entry, (extent) => this.read(extent));
  }

  async *writablePieces(entry: SnapshotEntry): AsyncGenerator<ContentPiece | WritablePiece> {
    yield* this.#inOrder(entry, async (extent) => {
      const [name, offset, length] = extent;
      if (name === null || length < minWritableBytes) return await this.read(extent);
      this.#checkWithin(extent, this.#fetcher.prepare(name));
      const writeTo: WritablePiece["writeTo"] = (descriptor, position) =>
        this.#fetcher.write(name, { from: offset, length }, descriptor, position);
      return { writableBytes: length, writeTo };
    });
  }

  /** What `read` makes of the entry's extents, some of them ahead. */
  async *#inOrder<P extends ContentPiece | WritablePiece>(
    entry: SnapshotEntry,
    read: (extent: Extent) => Promise<P>,
  ): AsyncGenerator<P> {
    let sizeBytes = 0;
    for await (const extents of this.extents(entry)) {
      const ahead: Promise<P>[] = [];
      for (let next = 0; next < extents.length || ahead.length > 0;) {
        for (; next < extents.length && ahead.length < extentsAhead; next++) {
          const piece = read(extents[next] as Extent);
          piece.catch(() => undefined); // known when its turn comes
          ahead.push(piece);
        }
        const piece = await (ahead.shift() as Promise<P>);
        sizeBytes += lengthOf(piece);
        yield piece;
      }
    }
    if (sizeBytes !== (entry.sizeBytes ?? 0)) {
      const path = entry.path ?? entry.pathBase64 ?? "";
      const sum = `the extents of ${path} add up to ${sizeBytes} bytes, not ${entry.sizeBytes ?? 0}`;
      throw manifestInvalid(this.#place, sum);
    }
  }

  async *extents(entry: SnapshotEntry): AsyncGenerator<Extent[]> {
    yield entry.extents ?? [];
    let left = entry.moreLines ?? 0;
    if (left === 0) return;
    for await (const { line } of this.#lines(entry.nextLineAt)) {
      yield decodeContinuationLine(line, `${this.#place} at byte ${entry.nextLineAt}`);
      if (--left === 0) return;
    }
  }

  async read(extent: Extent): Promise<ContentPiece> {
    const [name, offset, length] = extent;
    if (name === null) return { zeroBytes: length };
    this.#checkWithin(extent, this.#fetcher.prepare(name));
    return { bytes: await this.#fetcher.get(name, { from: offset, length }) };
  }

  #checkWithin([name, offset, length]: Extent, chunkBytes: number): void {
    if (offset + length <= chunkBytes) return;
    throw manifestInvalid(this.#place, `an extent reaches beyond the ${chunkBytes} bytes of chunk ${name ?? ""}`);
  }

  /** Lines from a byte on, each with the place of the byte after its end. */
  async *#lines(from: number, digester?: Digester): AsyncGenerator<{ line: string; endsAt: number }> {
    let rest: Buffer = Buffer.alloc(0);
    let at = from;
    let extentStart = 0;
    for (const extent of this.root.extents) {
      const skipped = Math.max(0, from - extentStart);
      extentStart += extent[2];
      if (skipped >= extent[2]) continue;
      const piece = await this.read(extent);
      const bytes = "bytes" in piece ? piece.bytes : Buffer.alloc(Math.min(piece.zeroBytes, maxLineBytes));
      digester?.update(bytes);
      rest = Buffer.concat([rest, bytes.subarray(skipped)]);
      let start = 0;
      for (let end = rest.indexOf(10, start); end >= 0; end = rest.indexOf(10, start)) {
        at += end + 1 - start;
        yield { line: rest.toString("utf8", start, end), endsAt: at };
        start = end + 1;
      }
      rest = rest.subarray(start);
      if (rest.length > maxLineBytes) throw manifestInvalid(this.#place, `a line is longer than ${maxLineBytes} bytes`);
    }
    if (rest.length > 0) throw manifestInvalid(this.#place, "its last line has no end");
  }
}

/** Bytes of content that it stands for. */
export function lengthOf(piece: ContentPiece | WritablePiece): number {
  if ("bytes" in piece) return piece.bytes.length;
  return "zeroBytes" in piece ? piece.zeroBytes : piece.writableBytes;
}

function checkEntry(entry: ManifestEntry, place: string): void {
  const wrong = (why: string): SkepError => manifestInvalid(place, why);
  const { path, pathBase64, type, sizeBytes, extents } = entry;
  if ((path === undefined) === (pathBase64 === undefined)) throw wrong("it has no path, or two");
  const text = pathBytes(path, pathBase64).toString("latin1");
  if (text.includes("\0") || (text !== "" && text.split("/").some(isNoName))) {
    throw wrong("its path is no path below the volume's root");
  }
  const isLink = entry.hardLinkTo !== undefined || entry.hardLinkToBase64 !== undefined;
  if (type === "file" ? (sizeBytes === undefined || extents === undefined) !== isLink : extents !== undefined) {
    throw wrong("its content does not fit its type");
  }
}

function isNoName(segment: string): boolean {
  return segment === "" || segment === "." || segment === "..";
}
