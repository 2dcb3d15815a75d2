// Rewrites the chunks of packs that kept runs need into new packs of the same writer, encrypted to the present epoch: each
// is opened, compared with its name, and put like one that its agent would put; packs first, then their index.
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import { makeAgeHeader } from "../age.ts";
import { putIndex } from "../index-object.ts";
import { layout } from "../layout.ts";
import { maxObjectBytes } from "../../store/limits.ts";
import { PackBuilder } from "../pack-builder.ts";
import { decodeChunkTable } from "../pack-format.ts";
import type { SealedPack } from "../pack-worker-messages.ts";
import type { PackRef } from "../refs.ts";
import type { LedgerPack, NeededChunk } from "../upkeep/pack-ledger.ts";
import { decryptAge } from "./age.ts";
import type { MoveBook } from "./move-book.ts";
import type { Operator } from "./operator.ts";
import { openChunkFrame } from "./sealed-window.ts";

/** Packs in one index object, as a writer has it. */
const packsInIndex = 64;

export interface MoveOptions {
  store: Store;
  operator: Operator;
  book: MoveBook;
  signal: AbortSignal;
}

/** Moves the packs of one writer, one after the other; `finish` writes what is left. */
export class ChunkMover {
  readonly #options: MoveOptions;
  readonly #writerId: string;
  readonly #builder: PackBuilder;
  readonly #moved = new Set<string>();
  #closed: { pack: SealedPack; bytes: Uint8Array }[] = [];
  #unindexed: PackRef[] = [];
  /** Of the packs that were put. */
  storedBytes = 0;

  constructor(options: MoveOptions, writerId: string) {
    this.#options = options;
    this.#writerId = writerId;
    this.#builder = new PackBuilder(
      async () => ({ age: await makeAgeHeader([options.operator.repositoryObject.epoch.recipient]), buffer: null }),
      (pack, buffer) => this.#closed.push({ pack, bytes: new Uint8Array(buffer, 0, pack.sizeBytes) }),
    );
  }

  /** Throws SKEP_OBJECT_MISSING, SKEP_AGE_INVALID, SKEP_PACK_INVALID, SKEP_CHUNK_DAMAGED, and what the store throws. */
  async move({ pack, epoch }: LedgerPack, needed: Iterable<NeededChunk>): Promise<void> {
    const { store, operator, signal } = this.#options;
    const place = `${layout.pack(pack)} at ${store.address}`;
    const file = await store.get(layout.pack(pack), maxObjectBytes, signal);
    if (file === null) throw damaged("SKEP_OBJECT_MISSING", `${place} is missing`);
    const plain = await decryptAge(file, [await operator.epochIdentity(epoch)], place);
    const { chunkName } = operator.writerKeys(this.#writerId);
    const there = new Map<number, { name: Uint8Array; start: number; frameBytes: number; plainBytes: number }>();
    let start = 0;
    for (const row of decodeChunkTable(plain, place)) {
      there.set(start, { ...row, start });
      start += row.frameBytes;
    }
    for (const { start: at, frameBytes, nameStart } of needed) {
      const found = there.get(at);
      const name = found === undefined ? "" : Buffer.from(found.name).toString("hex");
      if (found?.frameBytes !== frameBytes || !name.startsWith(nameStart)) {
        throw damaged("SKEP_CHUNK_DAMAGED", `${place}: no chunk ${nameStart}… stands at byte ${at}, where refs say so`);
      }
      if (this.#moved.has(name)) continue; // of two packs that held it
      this.#moved.add(name);
      const content = openChunkFrame(plain.subarray(at, at + frameBytes), { ...found, name }, chunkName, place);
      await this.#builder.add(found.name, content);
      await this.#putClosed();
    }
  }

  async finish(): Promise<void> {
    this.#builder.finish();
    await this.#putClosed();
    await this.#putIndex();
  }

  async #putClosed(): Promise<void> {
    const { store, operator, book, signal } = this.#options;
    for (const { pack, bytes } of this.#closed.splice(0)) {
      await store.put(layout.pack(pack.pack), bytes, { signal });
      this.storedBytes += pack.sizeBytes;
      const { number: epoch } = operator.repositoryObject.epoch;
      let start = 0;
      const ref: PackRef = { ...pack, epoch, chunks: [] };
      for (const { name, frameBytes, plainBytes } of pack.chunks) {
        ref.chunks.push([Buffer.from(name).toString("hex"), start, frameBytes, plainBytes]);
        start += frameBytes;
      }
      book.add(this.#writerId, ref);
      this.#unindexed.push(ref);
      if (this.#unindexed.length >= packsInIndex) await this.#putIndex();
    }
  }

  async #putIndex(): Promise<void> {
    if (this.#unindexed.length === 0) return;
    const { store, operator, signal } = this.#options;
    const { repositoryId, epoch } = operator.repositoryObject;
    const place = { store, repositoryId, writerId: this.#writerId, sealKey: operator.writerKeys(this.#writerId).seal };
    await putIndex(place, epoch.number, this.#unindexed, signal);
    this.#unindexed = [];
  }
}

function damaged(code: "SKEP_OBJECT_MISSING" | "SKEP_CHUNK_DAMAGED", message: string): SkepError {
  const hint = "nothing was changed; `skep check --read-data` tells what it hurts, and what else there is";
  return new SkepError({ code, message, permanent: true, hint });
}
