// Writes one snapshot of one volume: packs, then their index, then the manifest, then the refs. Nothing of it counts
// until a run names it. This thread walks and remembers; pack workers read, cut, compress and encrypt; at any size a
// bounded number of entries, tasks and packs is under way.
import { setImmediate as nextTurn } from "node:timers/promises";
import { SkepError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { checkCache } from "./cache-check.ts";
import { CachedFiles } from "./cached-files.ts";
import type { ChunkCache } from "./chunk-cache.ts";
import { makeClaims } from "./chunk-claims.ts";
import { readExtentRecords } from "./extent-records.ts";
import { FileQueue } from "./file-queue.ts";
import type { IndexPlace } from "./index-object.ts";
import { IndexWriter } from "./index-writer.ts";
import type { WriterKeys } from "./keys.ts";
import { ManifestWriter } from "./manifest-writer.ts";
import { defaultWorkers, PackCrew } from "./pack-crew.ts";
import type { FileRead } from "./pack-worker-messages.ts";
import { sortKeyOf } from "./path-order.ts";
import { makeReadCount, ReadCounter } from "./read-counter.ts";
import type { ReferencedChunks } from "./referenced-chunks.ts";
import { writeRefs } from "./refs-writer.ts";
import { readStream } from "./stream-content.ts";
import type { SnapshotResult, SourceEntries, SourceEntry, SourceFile } from "./snapshot.ts";
import { reportEveryMs, SnapshotTally, type SnapshotProgress } from "./snapshot-tally.ts";

export interface SnapshotOptions {
  store: Store;
  repositoryId: string;
  writerId: string;
  keys: WriterKeys;
  epoch: { number: number; recipient: string };
  runId: string;
  /** As Docker knows it. */
  volume: string;
  /** Creation time and file system id, say: where it is not what it was, no file counts as unchanged. */
  volumeIdentity: string;
  entries: SourceEntries;
  cache: ChunkCache;
  /** Beginnings of the names of packs that are not to be counted on (checkCache). */
  absentPacks?: readonly string[];
  signal: AbortSignal;
  /** At most once a second. */
  onProgress?: (progress: SnapshotProgress) => void;
  /** Into the store; 0: no limit. */
  maxBytesPerSecond: number;
  /** ms since 1970. */
  now: () => number;
  /** At most so many pack workers. */
  workers?: number;
}

/** Entries that were walked and not yet written into the manifest. */
const maxWaiting = 8192;
/** A file that changed so shortly before it was read may change again within one tick of its file system's clock. */
const settledMs = 2000;
const turnMs = 8;
const entriesPerTurn = 256;

/**
 * Throws what the store and the source throw, SKEP_CACHE_FAILED (the cache's disk is full: the next attempt does
 * without), SKEP_SOURCE_ORDER, SKEP_SNAPSHOT_INCOMPLETE, and the signal's reason.
 */
export async function writeSnapshot(options: SnapshotOptions): Promise<SnapshotResult> {
  const writer = new SnapshotWriter(options);
  try {
    return await writer.write();
  } catch (error) {
    if (options.signal.aborted) throw options.signal.reason;
    if ((error as NodeJS.ErrnoException).code !== "ERR_SQLITE_ERROR") throw error;
    throw new SkepError({
      code: "SKEP_CACHE_FAILED",
      message: `the chunk cache ${options.cache.path ?? "in memory"} failed: ${(error as Error).message}`,
      permanent: false,
      hint: "free space where the agent keeps its state; the next attempt goes on without the cache",
      cause: error,
    });
  } finally {
    await writer.close();
  }
}

interface Waiting {
  entry: SourceEntry;
  sortKey: Buffer;
  /** Null until the file was read. */
  content: { read: FileRead; isCached: boolean } | null;
  readAtMs: number;
}

class SnapshotWriter {
  readonly #options: SnapshotOptions;
  readonly #place: IndexPlace;
  readonly #tally: SnapshotTally;
  readonly #crew: PackCrew;
  readonly #files: FileQueue;
  readonly #manifest: ManifestWriter;
  readonly #index: IndexWriter;
  readonly #cachedFiles: CachedFiles;
  readonly #references: ReferencedChunks;
  readonly #waiting: Waiting[] = [];
  #waitingFrom = 0;
  /** Files of several names whose content could not be had: their other names go too. */
  readonly #omitted = new Set<string>();
  #turnStartedAt = performance.now();

  constructor(options: SnapshotOptions) {
    this.#options = options;
    const { store, repositoryId, writerId, keys, cache } = options;
    this.#place = { store, repositoryId, writerId, sealKey: keys.seal };
    const readCount = makeReadCount();
    this.#tally = new SnapshotTally(options.onProgress, new ReadCounter(readCount));
    this.#index = new IndexWriter(this.#place, options.epoch.number, cache, this.#tally);
    this.#cachedFiles = new CachedFiles(cache, options.volume, options.volumeIdentity);
    this.#references = cache.openReferences();
    this.#crew = new PackCrew({
      settings: {
        chunkNameKey: keys.chunkName,
        chunkerKey: keys.chunker,
        cachePath: cache.path,
        claims: makeClaims(),
        readCount,
      },
      recipient: options.epoch.recipient,
      store,
      workers: options.workers ?? defaultWorkers,
      maxBytesPerSecond: options.maxBytesPerSecond,
      signal: options.signal,
      onStored: (pack) => this.#index.packStored(pack, this.#crew),
    });
    this.#files = new FileQueue(this.#crew, this.#tally);
    this.#manifest = new ManifestWriter(this.#crew, this.#tally);
  }

  async close(): Promise<void> {
    await this.#crew.close();
    this.#references.close();
  }

  async write(): Promise<SnapshotResult> {
    const { store, repositoryId, writerId, cache, runId, volume, epoch, signal } = this.#options;
    const createdAt = new Date(this.#options.now()).toISOString();
    if (cache.problem !== null) this.#tally.warn("SKEP_CACHE_UNUSABLE", cache.problem);
    for (const warning of await checkCache(cache, this.#place, runId, signal, this.#options.absentPacks)) {
      this.#tally.warn(warning.code, warning.message);
    }
    // A large file may be all that happens for a long time.
    const telling = setInterval(() => {
      this.#tally.report("reading");
    }, reportEveryMs);
    try {
      await this.#readEntries();
    } finally {
      clearInterval(telling);
    }
    this.#tally.report("storing", true);
    const lineExtents = await this.#manifest.end();
    this.#refer(lineExtents);
    await this.#crew.flush();
    await this.#index.flush(this.#crew);
    const missing = await this.#references.place();
    if (missing.length > 0) {
      throw new SkepError({
        code: "SKEP_SNAPSHOT_INCOMPLETE",
        message: `chunks of volume ${volume} were not written: ${missing.join(", ")}`,
        permanent: false,
        hint: "nothing is lost; the next attempt writes them. Should it come again, report it",
      });
    }
    const facts = { repositoryId, runId, writerId, volume, createdAt };
    const manifest = await this.#manifest.putRoot(store, epoch.recipient, facts, lineExtents);
    const packRefs = this.#references.packRefs();
    const { refs, storedBytes } = await writeRefs(this.#place, runId, epoch.number, packRefs, this.#crew.signal);
    this.#tally.totals.storedBytes += storedBytes;
    this.#cachedFiles.finish();
    await this.#crew.run({ kind: "checkpoint" }, true);
    this.#tally.report("done", true);
    return { manifest, refs, ...this.#tally.findings() };
  }

  async #readEntries(): Promise<void> {
    let before: Buffer | null = null;
    for await (const entry of this.#options.entries) {
      const sortKey = sortKeyOf(entry.metadata);
      if (before !== null && Buffer.compare(before, sortKey) >= 0) throw wrongOrder(this.#options.volume, entry);
      before = sortKey;
      const waiting: Waiting = { entry, sortKey, content: null, readAtMs: this.#options.now() };
      this.#waiting.push(waiting);
      if (entry.file !== null) await this.#startReading(waiting, entry.file);
      else if (entry.stream !== undefined) waiting.content = await this.#readStream(entry, entry.stream, sortKey);
      this.#emit();
      await this.#waitForRoom();
    }
    this.#files.flush();
    while (this.#waitingFrom < this.#waiting.length) {
      if (this.#emit()) await this.#giveTurn();
      else if (this.#waitingFrom < this.#waiting.length) await this.#crew.progress();
    }
  }

  async #readStream(
    { metadata, streamIsFixed = false }: SourceEntry,
    stream: AsyncIterable<Uint8Array>,
    sortKey: Buffer,
  ): Promise<Waiting["content"]> {
    const mtimeNs = BigInt(metadata.mtimeNs);
    const common = { fault: null, mtimeNs, ctimeNs: mtimeNs, inode: 0n, steady: true, contentDigest: null };
    const known = streamIsFixed ? this.#cachedFiles.findFixed(sortKey) : null;
    if (known !== null) {
      this.#tally.countRead(known.sizeBytes);
      return { read: { ...common, ...known }, isCached: true };
    }
    const read = await readStream(this.#crew, stream, this.#tally);
    return { read: { ...common, ...read }, isCached: !streamIsFixed };
  }

  async #startReading(waiting: Waiting, file: SourceFile): Promise<void> {
    const { mtimeNs, ctimeNs, inode, sizeBytes } = file;
    const known = sizeBytes === 0 ? new Uint8Array(0) : this.#cachedFiles.find(waiting.sortKey, file);
    if (known !== null) {
      const read = { fault: null, sizeBytes, mtimeNs, ctimeNs, inode, steady: true };
      waiting.content = { read: { ...read, extents: known, contentDigest: null }, isCached: true };
      this.#tally.countRead(sizeBytes);
      return;
    }
    const { standIn } = file;
    await this.#files.add(standIn === undefined ? file : { ...file, ...standIn }, waiting.sortKey, (read) => {
      const own = standIn === undefined ? {} : { mtimeNs, ctimeNs, inode };
      waiting.content = { read: { ...read, ...own }, isCached: false };
    });
  }

  async #waitForRoom(): Promise<void> {
    while (this.#waiting.length - this.#waitingFrom > maxWaiting || this.#crew.isBusy) {
      if (this.#waiting.length - this.#waitingFrom > maxWaiting) this.#files.flush();
      if (this.#emit()) await this.#giveTurn();
      else await this.#crew.progress();
    }
    await this.#giveTurn();
  }

  /** Lets others have this thread where it was held for some ms. */
  async #giveTurn(): Promise<void> {
    if (performance.now() - this.#turnStartedAt < turnMs) return;
    await nextTurn();
    this.#turnStartedAt = performance.now();
    this.#crew.signal.throwIfAborted();
  }

  /** Writes the lines of entries that are ready, in order; true where there may be more. */
  #emit(): boolean {
    let emitted = 0;
    for (let next = this.#waiting[this.#waitingFrom]; next !== undefined; next = this.#waiting[this.#waitingFrom]) {
      if (next.entry.file !== null && next.content === null) break;
      this.#waitingFrom++;
      this.#emitOne(next);
      if (++emitted === entriesPerTurn) break;
    }
    if (this.#waitingFrom > 4096) {
      this.#waiting.splice(0, this.#waitingFrom);
      this.#waitingFrom = 0;
    }
    this.#tally.report("reading");
    return emitted === entriesPerTurn;
  }

  #emitOne({ entry, sortKey, content, readAtMs }: Waiting): void {
    const { metadata, file } = entry;
    if (content === null) {
      if (this.#isOmittedLink(entry)) return;
      this.#tally.countEntry(metadata.type, 0);
      this.#manifest.add(metadata, null);
      return;
    }
    const { read, isCached } = content;
    const name = metadata.path ?? file?.path.toString("utf8") ?? "";
    if (read.fault !== null) {
      const { kind, message } = read.fault;
      const code = kind === "vanished" ? "SKEP_SOURCE_FILE_VANISHED" : "SKEP_SOURCE_FILE_UNREADABLE";
      this.#tally.warn(code, `${name}: ${message}`);
      if (kind === "unreadable") this.#tally.complete = false;
      this.#omitted.add(sortKey.toString("latin1"));
      return;
    }
    if (!read.steady) {
      this.#tally.warn(
        "SKEP_SOURCE_FILE_CHANGED",
        `${name} changed while it was read, twice: what is stored may mix states`,
      );
    }
    this.#refer(read.extents);
    this.#tally.countEntry("file", read.sizeBytes);
    const described = { ...metadata, mtimeNs: String(read.mtimeNs), sizeBytes: read.sizeBytes };
    this.#manifest.add(read.steady ? described : { ...described, changedWhileRead: true }, read.extents);
    const settled = Number(read.ctimeNs / 1_000_000n) < readAtMs - settledMs;
    if (!isCached && read.steady && settled) this.#cachedFiles.remember({ path: sortKey, ...read });
  }

  #isOmittedLink({ metadata }: SourceEntry): boolean {
    if (metadata.hardLinkTo === undefined && metadata.hardLinkToBase64 === undefined) return false;
    const target = {
      ...(metadata.hardLinkTo !== undefined && { path: metadata.hardLinkTo }),
      ...(metadata.hardLinkToBase64 !== undefined && { pathBase64: metadata.hardLinkToBase64 }),
    };
    return this.#omitted.has(sortKeyOf(target).toString("latin1"));
  }

  #refer(extents: Uint8Array): void {
    for (const { name } of readExtentRecords(extents)) if (name !== null) this.#references.add(name);
  }
}

function wrongOrder(volume: string, { metadata }: SourceEntry): SkepError {
  return new SkepError({
    code: "SKEP_SOURCE_ORDER",
    message: `the walk of volume ${volume} gave ${metadata.path ?? metadata.pathBase64 ?? ""} out of order`,
    permanent: true,
    hint: "this is a fault of Skep: report it",
  });
}
