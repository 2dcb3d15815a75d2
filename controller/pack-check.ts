// Whether the packs that a volume's refs need are in the store, with their size, and not given up by a prune: what is not
// there can't be restored, whatever the agent's cache believed. One for each run: volumes share packs.
import { toErrorRecord, SkepError } from "../shared/errors.ts";
import { layout } from "../shared/repository/layout.ts";
import { decodePackLine } from "../shared/repository/refs.ts";
import { openRefs, type CatalogueKeys, type RefsOfPart } from "../shared/repository/upkeep/refs-lines.ts";
import { packsOf, type UpkeepEntry } from "../shared/repository/upkeep-entry.ts";

/** Above this many that are not known yet, a listing of all packs is cheaper than asking for each. */
const askedSingly = 500;
const packsPrefix = "packs/";

export class PackCheck {
  readonly #keys: CatalogueKeys;
  readonly #doomed: ReadonlySet<string>;
  /** By pack; null: not there. */
  readonly #sizes = new Map<string, number | null>();
  #listing: Promise<void> | null = null;
  /** Packs of each volume that was looked at, by the key of its refs. */
  readonly needed = new Map<string, readonly string[]>();

  /** `upkeep`: what counted before this began; the run is then appended under it (appendRun, checkedUnder). */
  constructor(keys: CatalogueKeys, upkeep: UpkeepEntry | null) {
    this.#keys = keys;
    this.#doomed = new Set(packsOf(upkeep?.doomed));
  }

  /** What is wrong, for a message; null where all is there. Throws only where the store can't be asked. */
  async faultOf(part: RefsOfPart): Promise<string | null> {
    let wanted: Map<string, number>;
    try {
      wanted = await this.#packsOf(part);
    } catch (error) {
      if (!(error instanceof SkepError) || !error.permanent) throw error;
      return `has refs that can't be used: ${toErrorRecord(error).message}`;
    }
    this.needed.set(part.refs.key, [...wanted.keys()]);
    const unknown = [...wanted.keys()].filter((pack) => !this.#sizes.has(pack));
    if (unknown.length > askedSingly) await (this.#listing ??= this.#list());
    for (const [pack, sizeBytes] of wanted) {
      const place = `${layout.pack(pack)} at ${this.#keys.store.address}`;
      if (this.#doomed.has(pack)) return `needs pack ${place}, which a prune gave up`;
      const found = await this.#sizeOf(pack);
      if (found === null) return `needs pack ${place}, which is not there`;
      if (found !== sizeBytes) return `needs pack ${place}, which has ${found} bytes, not ${sizeBytes}`;
    }
    return null;
  }

  async #sizeOf(pack: string): Promise<number | null> {
    const known = this.#sizes.get(pack);
    if (known !== undefined) return known;
    // Also after a listing: it may have begun before the pack was written.
    const sizeBytes = (await this.#keys.store.head(layout.pack(pack)))?.sizeBytes ?? null;
    this.#sizes.set(pack, sizeBytes);
    return sizeBytes;
  }

  async #list(): Promise<void> {
    for await (const { key, sizeBytes } of this.#keys.store.list(packsPrefix)) {
      const pack = key.slice(key.lastIndexOf("/") + 1);
      if (key === layout.pack(pack)) this.#sizes.set(pack, sizeBytes);
    }
  }

  async #packsOf(part: RefsOfPart): Promise<Map<string, number>> {
    const wanted = new Map<string, number>();
    const { lines } = await openRefs(this.#keys, part);
    for await (const { line, place } of lines) {
      const { pack, sizeBytes } = decodePackLine(line, place);
      wanted.set(pack, sizeBytes);
    }
    return wanted;
  }
}
