// Whether the packs that a volume's refs need are in the store, with their size: what is not there can't be restored,
// whatever the agent's cache believed. One for each run: volumes share packs.
import { toErrorRecord, SkepError } from "../shared/errors.ts";
import { layout } from "../shared/repository/layout.ts";
import { decodePackLines, decodeRefs, type PackRef } from "../shared/repository/refs.ts";
import type { StoredObject } from "../shared/repository/run.ts";
import { open } from "../shared/repository/sealed.ts";
import { getChecked } from "../shared/repository/stored-object.ts";
import type { Repository } from "./repository.ts";

/** What a store takes. */
const maxRefsBytes = 64 * 1024 * 1024;
/** Above this many that are not known yet, a listing of all packs is cheaper than asking for each. */
const askedSingly = 500;
const packsPrefix = "packs/";

export class PackCheck {
  readonly #repository: Repository;
  /** By pack; null: not there. */
  readonly #sizes = new Map<string, number | null>();
  #listing: Promise<void> | null = null;

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  /** What is wrong, for a message; null where all is there. Throws only where the store can't be asked. */
  async faultOf(runId: string, writerId: string, refs: StoredObject): Promise<string | null> {
    let wanted: Map<string, number>;
    try {
      wanted = await this.#packsOf(runId, writerId, refs);
    } catch (error) {
      if (!(error instanceof SkepError) || !error.permanent) throw error;
      return `has refs that can't be used: ${toErrorRecord(error).message}`;
    }
    const unknown = [...wanted.keys()].filter((pack) => !this.#sizes.has(pack));
    if (unknown.length > askedSingly) await (this.#listing ??= this.#list());
    for (const [pack, sizeBytes] of wanted) {
      const found = await this.#sizeOf(pack);
      const place = `${layout.pack(pack)} at ${this.#repository.store.address}`;
      if (found === null) return `needs pack ${place}, which is not there`;
      if (found !== sizeBytes) return `needs pack ${place}, which has ${found} bytes, not ${sizeBytes}`;
    }
    return null;
  }

  async #sizeOf(pack: string): Promise<number | null> {
    const known = this.#sizes.get(pack);
    if (known !== undefined) return known;
    // Also after a listing: it may have begun before the pack was written.
    const sizeBytes = (await this.#repository.store.head(layout.pack(pack)))?.sizeBytes ?? null;
    this.#sizes.set(pack, sizeBytes);
    return sizeBytes;
  }

  async #list(): Promise<void> {
    for await (const { key, sizeBytes } of this.#repository.store.list(packsPrefix)) {
      const pack = key.slice(key.lastIndexOf("/") + 1);
      if (key === layout.pack(pack)) this.#sizes.set(pack, sizeBytes);
    }
  }

  async #packsOf(runId: string, writerId: string, refs: StoredObject): Promise<Map<string, number>> {
    const { store, key } = this.#repository;
    const sealKey = this.#repository.sealKeyOf(writerId);
    const place = `${refs.key} at ${store.address}`;
    const expected = { type: "refs", repositoryId: key.repositoryId, writerId } as const;
    const opened = async (object: StoredObject): Promise<Uint8Array> =>
      open(await getChecked(store, object, maxRefsBytes), expected, sealKey, `${object.key} at ${store.address}`);
    const { header, packs } = decodeRefs(await opened(refs), place);
    if (header.runId !== runId || header.writerId !== writerId || header.repositoryId !== key.repositoryId) {
      throw otherRefs(place);
    }
    const wanted = new Map<string, number>();
    let lines = 0;
    const take = (refsOfPacks: readonly PackRef[]): void => {
      lines += refsOfPacks.length;
      for (const { pack, sizeBytes } of refsOfPacks) wanted.set(pack, sizeBytes);
    };
    take(packs);
    for (const { object, sizeBytes, digest } of header.pages) {
      const page = { key: layout.refs(runId, object), sizeBytes, digest, versionId: null };
      take(decodePackLines(await opened(page), `${page.key} at ${store.address}`));
    }
    if (lines !== header.packs) throw otherRefs(place);
    return wanted;
  }
}

function otherRefs(place: string): SkepError {
  return new SkepError({
    code: "SKEP_REFS_INVALID",
    message: `${place} belongs to another run, or lacks lines`,
    permanent: true,
    hint: "somebody copied or changed it: check who can write to the store",
  });
}
