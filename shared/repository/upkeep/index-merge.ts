// Small index objects of one writer, gathered to become one: every backup of little writes another, and whoever reads the
// index (an agent without its cache, a check, a prune) asks the store for each. What is whole is never merged again, so
// that each line is written anew once. The merged object is put first, and then the small ones go: killed between, packs
// are named twice, which hurts nobody.
import type { PackRef } from "../refs.ts";

/** Larger ones stay as they are. */
const mostSmallPacks = 16;
const mostSmallChunks = 4096;
/** So many small ones become one; fewer stay. At most 262,144 chunks are held. */
export const mergedAtOnce = 64;

export interface IndexMerge {
  writerId: string;
  /** Of the small ones. */
  keys: string[];
  /** Each once. */
  packs: PackRef[];
}

export class SmallIndexes {
  #writerId = "";
  #keys: string[] = [];
  readonly #packs = new Map<string, PackRef>();

  /** What is to be merged now, null while there is not enough. Writers come one after the other. */
  add(writerId: string, key: string, packs: readonly PackRef[]): IndexMerge | null {
    if (writerId !== this.#writerId) this.#begin(writerId);
    if (packs.length > mostSmallPacks) return null;
    if (packs.reduce((sum, { chunks }) => sum + chunks.length, 0) > mostSmallChunks) return null;
    this.#keys.push(key);
    for (const pack of packs) this.#packs.set(pack.pack, pack);
    if (this.#keys.length < mergedAtOnce) return null;
    const merge = { writerId, keys: this.#keys, packs: [...this.#packs.values()] };
    this.#begin(writerId);
    return merge;
  }

  #begin(writerId: string): void {
    this.#writerId = writerId;
    this.#keys = [];
    this.#packs.clear();
  }
}
