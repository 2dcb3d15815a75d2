// Walks the cache's files of one volume beside the walk of the volume itself, both in the same order; remembers what
// was read anew and forgets what is gone.
import type { CachedFile, ChunkCache, FileToRemember } from "./chunk-cache.ts";
import { isReadableExtents, readExtentRecords } from "./extent-records.ts";
import type { SourceFile } from "./snapshot.ts";

const pageRows = 500;

export class CachedFiles {
  readonly #cache: ChunkCache;
  readonly #volume: number;
  #page: CachedFile[] = [];
  #at = 0;
  #last: Uint8Array | null = null;
  #ended = false;
  #remembered: FileToRemember[] = [];
  #forgotten: Uint8Array[] = [];
  /** The chunk that was found last: neighbours share theirs. */
  #lastFound: Buffer = Buffer.alloc(0);

  constructor(cache: ChunkCache, volume: string, identity: string) {
    this.#cache = cache;
    this.#volume = cache.openVolume(volume, identity);
  }

  /** Extent records of the file, where it is as it was and all its chunks are there; else null. To be asked in order. */
  find(sortKey: Buffer, file: SourceFile): Uint8Array | null {
    const cached = this.#advance(sortKey);
    if (cached === null) return null;
    const isSame =
      cached.sizeBytes === file.sizeBytes &&
      cached.mtimeNs === file.mtimeNs &&
      cached.ctimeNs === file.ctimeNs &&
      cached.inode === file.inode;
    return isSame && this.#hasChunks(cached) ? cached.extents : null;
  }

  /** As find, of content that can't be another while the volume's identity is the same. */
  findFixed(sortKey: Buffer): { extents: Uint8Array; sizeBytes: number } | null {
    const cached = this.#advance(sortKey);
    if (cached === null || !this.#hasChunks(cached)) return null;
    const { extents, sizeBytes } = cached;
    return { extents, sizeBytes };
  }

  /** And they are what a cache has, not what a disk or a half-written page made of it: else the file is read. */
  #hasChunks({ extents, sizeBytes }: CachedFile): boolean {
    if (!isReadableExtents(extents, sizeBytes)) return false;
    for (const { name } of readExtentRecords(extents)) {
      if (name === null || name.equals(this.#lastFound)) continue;
      if (!this.#cache.hasChunk(name)) return false;
      this.#lastFound = name;
    }
    return true;
  }

  remember(file: FileToRemember): void {
    this.#remembered.push(file);
    if (this.#remembered.length >= pageRows) this.flush();
  }

  /** After the last file: what the cache has beyond it is gone. */
  finish(): void {
    while (this.#peek() !== null) this.#skip();
    this.flush();
  }

  flush(): void {
    if (this.#remembered.length === 0 && this.#forgotten.length === 0) return;
    this.#cache.updateFiles(this.#volume, this.#remembered, this.#forgotten);
    this.#remembered = [];
    this.#forgotten = [];
  }

  #advance(sortKey: Buffer): CachedFile | null {
    for (let cached = this.#peek(); cached !== null; cached = this.#peek()) {
      const order = Buffer.compare(cached.path, sortKey);
      if (order > 0) return null;
      if (order === 0) {
        this.#at++;
        return cached;
      }
      this.#skip();
    }
    return null;
  }

  #peek(): CachedFile | null {
    if (this.#at >= this.#page.length && !this.#ended) {
      this.#page = this.#cache.filesAfter(this.#volume, this.#last, pageRows);
      this.#at = 0;
      this.#last = this.#page.at(-1)?.path ?? this.#last;
      this.#ended = this.#page.length < pageRows;
    }
    return this.#page[this.#at] ?? null;
  }

  #skip(): void {
    const cached = this.#page[this.#at++];
    if (cached !== undefined) this.#forgotten.push(cached.path);
    if (this.#forgotten.length >= pageRows) this.flush();
  }
}
