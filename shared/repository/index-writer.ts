// Turns packs that the store acknowledged into index objects, one every so many packs. Only when its index object is
// acknowledged too does a chunk get into the cache and count as stored.
import type { ChunkCache } from "./chunk-cache.ts";
import { putIndex, type IndexPlace } from "./index-object.ts";
import type { PackCrew } from "./pack-crew.ts";
import type { SealedPack } from "./pack-worker-messages.ts";
import type { PackedChunk, PackRef } from "./refs.ts";
import type { SnapshotTally } from "./snapshot-tally.ts";

/** Packs between two index objects: after a crash at most a GiB is written again. */
const packsPerIndex = 64;

export class IndexWriter {
  readonly #place: IndexPlace;
  readonly #epoch: number;
  readonly #cache: ChunkCache;
  readonly #tally: SnapshotTally;
  #unindexed: PackRef[] = [];
  #indexing: Promise<void> = Promise.resolve();

  constructor(place: IndexPlace, epoch: number, cache: ChunkCache, tally: SnapshotTally) {
    this.#place = place;
    this.#epoch = epoch;
    this.#cache = cache;
    this.#tally = tally;
  }

  /** To be told of each pack that the store acknowledged. */
  async packStored({ pack, headerBytes, sizeBytes, chunks }: SealedPack, crew: PackCrew): Promise<void> {
    this.#tally.totals.storedBytes += sizeBytes;
    let start = 0;
    const packed = chunks.map(({ name, frameBytes, plainBytes }): PackedChunk => {
      const chunk: PackedChunk = [Buffer.from(name).toString("hex"), start, frameBytes, plainBytes];
      start += frameBytes;
      return chunk;
    });
    this.#unindexed.push({ pack, sizeBytes, headerBytes, epoch: this.#epoch, chunks: packed });
    if (this.#unindexed.length >= packsPerIndex) await this.flush(crew);
  }

  /** One index after the other; when it resolves, all packs stored before are indexed and known. */
  async flush(crew: PackCrew): Promise<void> {
    const before = this.#indexing;
    const packs = this.#unindexed;
    this.#unindexed = [];
    const write = async (): Promise<void> => {
      await before;
      if (packs.length === 0) return;
      const { object, sizeBytes } = await putIndex(this.#place, this.#epoch, packs, crew.signal);
      this.#tally.totals.storedBytes += sizeBytes;
      this.#cache.addIndex(object, packs);
      crew.follow(crew.run({ kind: "checkpoint" }, true).then(() => undefined));
    };
    this.#indexing = write();
    await this.#indexing;
  }
}
