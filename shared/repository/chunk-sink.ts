// Where a pack worker puts chunks: named, looked up, and written only when neither the cache nor another worker
// of this snapshot has it.
import { keyedDigestBytes } from "./blake3.ts";
import type { ChunkClaims } from "./chunk-claims.ts";
import { countZeros, findCut, maxChunkBytes, minChunkBytes } from "./chunker.ts";
import type { ExtentList } from "./extent-records.ts";
import type { KeyBytes } from "./keys.ts";
import type { KnownChunks } from "./known-chunks.ts";
import type { PackBuilder } from "./pack-builder.ts";

export class ChunkSink {
  readonly #nameKey: KeyBytes;
  readonly #gear: Int32Array;
  readonly #known: KnownChunks | null;
  readonly #claims: ChunkClaims;
  readonly #packs: PackBuilder;
  #newBytes = 0;

  constructor(parts: {
    nameKey: KeyBytes;
    gear: Int32Array;
    known: KnownChunks | null;
    claims: ChunkClaims;
    packs: PackBuilder;
  }) {
    this.#nameKey = parts.nameKey;
    this.#gear = parts.gear;
    this.#known = parts.known;
    this.#claims = parts.claims;
    this.#packs = parts.packs;
  }

  /** Its name, 32 bytes. `plain` is not kept. */
  async store(plain: Buffer): Promise<Buffer> {
    const name = keyedDigestBytes(this.#nameKey, plain);
    if (this.#known?.has(name) === true || !this.#claims.claim(name)) return name;
    this.#newBytes += plain.length;
    await this.#packs.add(name, plain);
    return name;
  }

  /**
   * Cuts bytes[start, end) and stores the chunks; where its content cuts it, or as zero bytes. Stops while less than
   * maxChunkBytes are left, unless `isEnd`. Where it stopped.
   */
  async storeCut(bytes: Buffer, start: number, end: number, isEnd: boolean, extents: ExtentList): Promise<number> {
    let at = start;
    while (end - at >= maxChunkBytes || (isEnd && at < end)) {
      const zeros = countZeros(bytes, at, end);
      if (zeros >= minChunkBytes || zeros === end - at) {
        extents.add(null, 0, zeros);
        at += zeros;
        continue;
      }
      const length = findCut(bytes, at, end, this.#gear);
      extents.add(await this.store(bytes.subarray(at, at + length)), 0, length);
      at += length;
    }
    return at;
  }

  /** Plain bytes of chunks written since this was asked last. */
  takeNewBytes(): number {
    const taken = this.#newBytes;
    this.#newBytes = 0;
    return taken;
  }
}
