// Writes one snapshot of one volume: packs, then their index, then the manifest, then the refs. Nothing of it counts
// until a run names it. This thread walks and remembers; pack workers read, cut, compress and encrypt; at any size a
// bounded number of entries, tasks and packs is under way.
import { setImmediate as nextTurn } from "node:timers/promises";
import { zstdCompressSync } from "node:zlib";
import { SkepError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { encryptAge } from "./age.ts";
import { digest, Digester } from "./blake3.ts";
import { checkCache } from "./cache-check.ts";
import { CachedFiles } from "./cached-files.ts";
import type { ChunkCache } from "./chunk-cache.ts";
import { makeClaims } from "./chunk-claims.ts";
import { readExtentRecords, toManifestExtents } from "./extent-records.ts";
import { readLargeFile, type ReadTotals } from "./file-content.ts";
import { putIndex, type IndexPlace } from "./index-object.ts";
import type { WriterKeys } from "./keys.ts";
import { layout, newObjectId } from "./layout.ts";
import { encodeEntry } from "./manifest-lines.ts";
import type { ManifestEntry, ManifestRoot } from "./manifest.ts";
import { defaultWorkers, PackCrew } from "./pack-crew.ts";
import type { FileRead, FileToRead, SealedPack } from "./pack-worker-messages.ts";
import { sortKeyOf } from "./path-order.ts";
import type { ReferencedChunks } from "./referenced-chunks.ts";
import type { PackedChunk, PackRef } from "./refs.ts";
import { writeRefs } from "./refs-writer.ts";
import type { PartTotals, StoredObject, Warning } from "./run.ts";
import { smallFileBytes } from "./small-file-reader.ts";
import type { SnapshotResult, SourceEntries, SourceEntry, SourceFile } from "./snapshot.ts";

export interface SnapshotProgress {
  phase: string;
  /** Plain bytes of the source so far, read or known to be unchanged. */
  doneBytes: number;
  totalBytes: null;
  doneFiles: number;
}

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
const maxWaiting = 16_384;
/** A batch of small files ends after a name that says so, or at these. */
const usualBatchBytes = 4 * 1024 * 1024;
const maxBatchBytes = 16 * 1024 * 1024;
const maxBatchFiles = 4096;
/** Packs between two index objects: after a crash at most a GiB is written again. */
const packsPerIndex = 64;
const linesPerTaskBytes = 1024 * 1024;
/** A file that changed so shortly before it was read may change again within one tick of its file system's clock. */
const settledMs = 2000;
const maxWarnings = 1000;
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
  readonly #crew: PackCrew;
  readonly #cachedFiles: CachedFiles;
  readonly #references: ReferencedChunks;
  readonly #waiting: Waiting[] = [];
  #waitingFrom = 0;
  #batch: Waiting[] = [];
  #batchBytes = 0;
  #lines: string[] = [];
  #lineBytes = 0;
  #linesDigest = new Digester();
  #entries = 0;
  #unindexed: PackRef[] = [];
  #indexing: Promise<void> = Promise.resolve();
  readonly #newChunks: ReadTotals = { newBytes: 0 };
  readonly #totals: PartTotals = {
    files: 0,
    directories: 0,
    others: 0,
    sourceBytes: 0,
    newBytes: 0,
    storedBytes: 0,
  };
  readonly #warnings: Warning[] = [];
  #warningsLeftOut = 0;
  #complete = true;
  /** Files of several names whose content could not be had: their other names go too. */
  readonly #omitted = new Set<string>();
  #turnStartedAt = performance.now();
  #reportedAt = -Infinity;

  constructor(options: SnapshotOptions) {
    this.#options = options;
    const { store, repositoryId, writerId, keys, cache } = options;
    this.#place = { store, repositoryId, writerId, sealKey: keys.seal };
    this.#cachedFiles = new CachedFiles(cache, options.volume, options.volumeIdentity);
    this.#references = cache.openReferences();
    this.#crew = new PackCrew({
      settings: {
        chunkNameKey: keys.chunkName,
        chunkerKey: keys.chunker,
        recipient: options.epoch.recipient,
        cachePath: cache.path,
        claims: makeClaims(),
      },
      store,
      workers: options.workers ?? defaultWorkers,
      maxBytesPerSecond: options.maxBytesPerSecond,
      signal: options.signal,
      onStored: (pack) => this.#packStored(pack),
    });
  }

  async close(): Promise<void> {
    await this.#crew.close();
    this.#references.close();
  }

  async write(): Promise<SnapshotResult> {
    const { cache, runId, signal } = this.#options;
    const createdAt = new Date(this.#options.now()).toISOString();
    if (cache.problem !== null) this.#warn("SKEP_CACHE_UNUSABLE", cache.problem);
    for (const warning of await checkCache(cache, this.#place, runId, signal)) {
      this.#warn(warning.code, warning.message);
    }
    await this.#readEntries();
    this.#report("storing", true);
    const { lines, newBytes } = await this.#crew.run({ kind: "end-lines" }, true);
    this.#newChunks.newBytes += newBytes;
    const lineExtents = lines ?? new Uint8Array(0);
    this.#refer(lineExtents);
    await this.#crew.flush();
    await this.#writeIndex();
    await this.#indexing;
    const missing = await this.#references.place();
    if (missing.length > 0) {
      throw new SkepError({
        code: "SKEP_SNAPSHOT_INCOMPLETE",
        message: `chunks of volume ${this.#options.volume} were not written: ${missing.join(", ")}`,
        permanent: false,
        hint: "nothing is lost; the next attempt writes them. Should it come again, report it",
      });
    }
    const manifest = await this.#writeRoot(createdAt, lineExtents);
    const epoch = this.#options.epoch.number;
    const { refs, storedBytes } = await writeRefs(
      this.#place,
      runId,
      epoch,
      this.#references.packRefs(),
      this.#crew.signal,
    );
    this.#totals.storedBytes += storedBytes;
    this.#totals.newBytes = this.#newChunks.newBytes;
    this.#cachedFiles.finish();
    await this.#crew.run({ kind: "checkpoint" }, true);
    this.#report("done", true);
    return {
      manifest,
      refs,
      totals: this.#totals,
      warnings: this.#warnings,
      warningsLeftOut: this.#warningsLeftOut,
      complete: this.#complete,
    };
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
      this.#emit();
      await this.#waitForRoom();
    }
    this.#sendBatch();
    while (this.#waitingFrom < this.#waiting.length) {
      if (this.#emit()) await this.#giveTurn();
      else if (this.#waitingFrom < this.#waiting.length) await this.#crew.progress();
    }
    this.#sendLines();
  }

  async #startReading(waiting: Waiting, file: SourceFile): Promise<void> {
    const { mtimeNs, ctimeNs, inode, sizeBytes } = file;
    const known = sizeBytes === 0 ? new Uint8Array(0) : this.#cachedFiles.find(waiting.sortKey, file);
    if (known !== null) {
      const read = { fault: null, sizeBytes, mtimeNs, ctimeNs, inode, steady: true };
      waiting.content = { read: { ...read, extents: known, contentDigest: null }, isCached: true };
      return;
    }
    if (sizeBytes < smallFileBytes) {
      this.#batch.push(waiting);
      this.#batchBytes += sizeBytes;
      if (this.#batchEnds(waiting.sortKey)) this.#sendBatch();
      return;
    }
    // Tasks of a large file wait here, so that no more of them than there are workers pile up.
    while (this.#crew.isBusy) await this.#crew.progress();
    this.#follow(
      readLargeFile(this.#crew, toRead(file), this.#newChunks).then((read) => {
        waiting.content = { read, isCached: false };
      }),
    );
  }

  /**
   * The name decides, not the moment: read again without a cache, the same files share the same chunks. The batch
   * is long enough that its last, shorter chunk weighs little.
   */
  #batchEnds(sortKey: Buffer): boolean {
    if (this.#batchBytes >= maxBatchBytes || this.#batch.length >= maxBatchFiles) return true;
    return this.#batchBytes >= usualBatchBytes && (sortKey.at(-1) ?? 0) % 4 === 0;
  }

  #sendBatch(): void {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    this.#batchBytes = 0;
    const files = batch.map(({ entry }) => toRead(entry.file as SourceFile));
    this.#follow(
      this.#crew.run({ kind: "small-files", files }).then((result) => {
        this.#newChunks.newBytes += result.newBytes;
        for (const [at, waiting] of batch.entries()) {
          const read = result.files[at];
          if (read === undefined) throw new TypeError("a pack worker left a file out");
          waiting.content = { read, isCached: false };
        }
      }),
    );
  }

  /** The crew fails with it, and whoever waits for the crew learns of it. */
  #follow(promise: Promise<void>): void {
    promise.then(
      () => {
        this.#crew.announce();
      },
      (error: unknown) => {
        this.#crew.fail(error);
      },
    );
  }

  async #waitForRoom(): Promise<void> {
    while (this.#waiting.length - this.#waitingFrom > maxWaiting || this.#crew.isBusy) {
      if (this.#waiting.length - this.#waitingFrom > maxWaiting) this.#sendBatch();
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
    this.#report("reading", false);
    return emitted === entriesPerTurn;
  }

  #emitOne({ entry, sortKey, content, readAtMs }: Waiting): void {
    const { metadata, file } = entry;
    if (file === null || content === null) {
      if (this.#isOmittedLink(entry)) return;
      this.#countEntry(metadata.type, 0);
      this.#addLine(metadata);
      return;
    }
    const { read, isCached } = content;
    const name = metadata.path ?? file.path.toString("utf8");
    if (read.fault !== null) {
      const { kind, message } = read.fault;
      const code = kind === "vanished" ? "SKEP_SOURCE_FILE_VANISHED" : "SKEP_SOURCE_FILE_UNREADABLE";
      this.#warn(code, `${name}: ${message}`);
      if (kind === "unreadable") this.#complete = false;
      this.#omitted.add(sortKey.toString("latin1"));
      return;
    }
    if (!read.steady) {
      this.#warn("SKEP_SOURCE_FILE_CHANGED", `${name} changed while it was read, twice: what is stored may mix states`);
    }
    this.#refer(read.extents);
    this.#countEntry("file", read.sizeBytes);
    this.#addLine({
      ...metadata,
      mtimeNs: String(read.mtimeNs),
      sizeBytes: read.sizeBytes,
      extents: toManifestExtents(read.extents),
      ...(read.steady ? {} : { changedWhileRead: true }),
    });
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

  #countEntry(type: ManifestEntry["type"], sizeBytes: number): void {
    this.#entries++;
    this.#totals.sourceBytes += sizeBytes;
    if (type === "file") this.#totals.files++;
    else if (type === "directory") this.#totals.directories++;
    else this.#totals.others++;
  }

  #addLine(entry: ManifestEntry): void {
    const line = encodeEntry(entry);
    this.#lines.push(line);
    this.#lineBytes += line.length;
    if (this.#lineBytes >= linesPerTaskBytes) this.#sendLines();
  }

  #sendLines(): void {
    if (this.#lines.length === 0) return;
    const bytes = Buffer.from(this.#lines.join(""), "utf8");
    this.#lines = [];
    this.#lineBytes = 0;
    this.#linesDigest.update(bytes);
    const sent = this.#crew.run({ kind: "lines", bytes }, true).then((result) => {
      this.#newChunks.newBytes += result.newBytes;
    });
    this.#follow(sent);
  }

  #refer(extents: Uint8Array): void {
    for (const { name } of readExtentRecords(extents)) if (name !== null) this.#references.add(name);
  }

  async #packStored({ pack, headerBytes, sizeBytes, chunks }: SealedPack): Promise<void> {
    this.#totals.storedBytes += sizeBytes;
    let start = 0;
    const packed = chunks.map(({ name, frameBytes, plainBytes }): PackedChunk => {
      const chunk: PackedChunk = [Buffer.from(name).toString("hex"), start, frameBytes, plainBytes];
      start += frameBytes;
      return chunk;
    });
    this.#unindexed.push({ pack, sizeBytes, headerBytes, epoch: this.#options.epoch.number, chunks: packed });
    if (this.#unindexed.length >= packsPerIndex) await this.#writeIndex();
  }

  /** One after the other; when it resolves, all packs stored before are indexed and known. */
  async #writeIndex(): Promise<void> {
    const before = this.#indexing;
    const packs = this.#unindexed;
    this.#unindexed = [];
    const write = async (): Promise<void> => {
      await before;
      if (packs.length === 0) return;
      const { object, sizeBytes } = await putIndex(this.#place, this.#options.epoch.number, packs, this.#crew.signal);
      this.#totals.storedBytes += sizeBytes;
      this.#options.cache.addIndex(object, packs);
      this.#follow(this.#crew.run({ kind: "checkpoint" }, true).then(() => undefined));
    };
    this.#indexing = write();
    await this.#indexing;
  }

  async #writeRoot(createdAt: string, lineExtents: Uint8Array): Promise<StoredObject> {
    const { store, repositoryId, writerId, runId, volume, epoch } = this.#options;
    const root: ManifestRoot = {
      format: 1,
      repositoryId,
      runId,
      writerId,
      volume,
      createdAt,
      entries: this.#entries,
      extents: toManifestExtents(lineExtents),
      linesDigest: this.#linesDigest.hex(),
    };
    const bytes = await encryptAge(zstdCompressSync(Buffer.from(JSON.stringify(root), "utf8")), [epoch.recipient]);
    const key = layout.manifest(runId, newObjectId());
    const { versionId } = await store.put(key, bytes, { signal: this.#crew.signal });
    this.#totals.storedBytes += bytes.length;
    return { key, sizeBytes: bytes.length, digest: digest(bytes), versionId };
  }

  #warn(code: string, message: string): void {
    if (this.#warnings.length < maxWarnings) this.#warnings.push({ code, message: message.slice(0, 16384) });
    else this.#warningsLeftOut++;
  }

  #report(phase: string, always: boolean): void {
    const now = performance.now();
    if (!always && now - this.#reportedAt < 1000) return;
    this.#reportedAt = now;
    const { sourceBytes, files } = this.#totals;
    this.#options.onProgress?.({ phase, doneBytes: sourceBytes, totalBytes: null, doneFiles: files });
  }
}

function toRead({ path, sizeBytes, mtimeNs, ctimeNs, inode }: SourceFile): FileToRead {
  return { path: path.toString("latin1"), sizeBytes, mtimeNs, ctimeNs, inode };
}

function wrongOrder(volume: string, { metadata }: SourceEntry): SkepError {
  return new SkepError({
    code: "SKEP_SOURCE_ORDER",
    message: `the walk of volume ${volume} gave ${metadata.path ?? metadata.pathBase64 ?? ""} out of order`,
    permanent: true,
    hint: "this is a fault of Skep: report it",
  });
}
