// What differs between two snapshots, by path: both manifests are read once, side by side, for both are in path order.
// Content counts as the same where its extents are; where they differ though the lengths are equal (a file that was
// read again may lie in another chunk), the bytes that stand elsewhere are read and compared, up to the first that
// differs.
import { isDeepStrictEqual } from "node:util";
import type { Extent, ManifestEntry } from "../manifest.ts";
import { pathBytes, sortKeyOf } from "../path-order.ts";
import type { Snapshot, SnapshotEntry } from "./snapshot-reader.ts";
import { entriesBelow } from "./subtree.ts";

export interface EntryChange {
  change: "added" | "removed" | "changed";
  path: Buffer;
  before: SnapshotEntry | null;
  after: SnapshotEntry | null;
  /** Of what changed; empty for what was added or removed. */
  what: readonly string[];
}

/** Fields of an entry by the word for them; of those that are not here the field's own name. */
const words: Partial<Record<keyof SnapshotEntry, string>> = {
  uid: "owner",
  gid: "owner",
  mtimeNs: "mtime",
  sizeBytes: "size",
  hardLinkTo: "hard link",
  hardLinkToBase64: "hard link",
  linkTarget: "link target",
  linkTargetBase64: "link target",
  xattrs: "attributes",
};
/** Where it lies is not what it is; a mark of how it was read neither. */
const notCompared = new Set<string>(["path", "pathBase64", "extents", "moreLines", "nextLineAt", "changedWhileRead"]);

/** In path order, at and below `path` (empty: all). Throws what reading the snapshots throws. */
export async function* diffTrees(before: Snapshot, after: Snapshot, path: Buffer): AsyncGenerator<EntryChange> {
  const was = entriesBelow(before, path);
  const is = entriesBelow(after, path);
  try {
    let old = await take(was);
    let now = await take(is);
    while (old !== null || now !== null) {
      const order = old === null ? 1 : now === null ? -1 : Buffer.compare(old.key, now.key);
      if (order < 0 && old !== null) {
        yield { change: "removed", path: old.path, before: old.entry, after: null, what: [] };
      } else if (order > 0 && now !== null) {
        yield { change: "added", path: now.path, before: null, after: now.entry, what: [] };
      } else if (old !== null && now !== null) {
        const what = await differences(before, old.entry, after, now.entry);
        if (what.length > 0) yield { change: "changed", path: now.path, before: old.entry, after: now.entry, what };
      }
      if (order <= 0) old = await take(was);
      if (order >= 0) now = await take(is);
    }
  } finally {
    await was.return(undefined);
    await is.return(undefined);
  }
}

interface Taken {
  entry: SnapshotEntry;
  path: Buffer;
  key: Buffer;
}

async function take(entries: AsyncGenerator<SnapshotEntry>): Promise<Taken | null> {
  const next = await entries.next();
  if (next.done === true) return null;
  const entry = next.value;
  return { entry, path: pathBytes(entry.path, entry.pathBase64), key: sortKeyOf(entry) };
}

async function differences(
  before: Snapshot,
  old: SnapshotEntry,
  after: Snapshot,
  now: SnapshotEntry,
): Promise<string[]> {
  const what = new Set<string>();
  const fields = new Set([...Object.keys(old), ...Object.keys(now)] as (keyof SnapshotEntry)[]);
  for (const field of fields) {
    if (!notCompared.has(field) && !isDeepStrictEqual(old[field], now[field])) what.add(words[field] ?? field);
  }
  if (isWithContent(old) && isWithContent(now)) {
    const same = old.sizeBytes === now.sizeBytes && (await isSameContent(before, old, after, now));
    if (!same) what.add("content");
  }
  return [...what];
}

function isWithContent(entry: ManifestEntry): boolean {
  return entry.extents !== undefined;
}

/** Of files of one size. */
async function isSameContent(
  before: Snapshot,
  old: SnapshotEntry,
  after: Snapshot,
  now: SnapshotEntry,
): Promise<boolean> {
  const oneWriter = before.root.writerId === after.root.writerId;
  const was = new ExtentCursor(before, old);
  const is = new ExtentCursor(after, now);
  for (;;) {
    const one = await was.peek();
    const other = await is.peek();
    if (one === null || other === null) return one === other;
    const length = Math.min(one[2], other[2]);
    const isSamePlace = one[0] === other[0] && (one[0] === null || (oneWriter && one[1] === other[1]));
    if (!isSamePlace && !(await was.read(length)).equals(await is.read(length))) return false;
    was.skip(length);
    is.skip(length);
  }
}

/** Compared at once, of zero bytes that lie nowhere. */
const longestZeros = 1024 * 1024;

/** Goes through a file's extents by any lengths. */
class ExtentCursor {
  readonly #snapshot: Snapshot;
  readonly #pages: AsyncIterator<Extent[]>;
  #page: Extent[] = [];
  #at = 0;
  /** Bytes of the present extent that are behind. */
  #done = 0;

  constructor(snapshot: Snapshot, entry: SnapshotEntry) {
    this.#snapshot = snapshot;
    this.#pages = snapshot.extents(entry)[Symbol.asyncIterator]();
  }

  /** The rest of the present extent; null at the end. Zeros come in pieces. */
  async peek(): Promise<Extent | null> {
    for (;;) {
      const extent = this.#page[this.#at];
      if (extent === undefined) {
        const next = await this.#pages.next();
        if (next.done === true) return null;
        this.#page = next.value;
        this.#at = 0;
        continue;
      }
      const [name, offset, length] = extent;
      if (length > this.#done) {
        const rest = length - this.#done;
        return [name, offset + this.#done, name === null ? Math.min(rest, longestZeros) : rest];
      }
      this.#at++;
      this.#done = 0;
    }
  }

  /** The next bytes, within the present extent. */
  async read(length: number): Promise<Buffer> {
    const extent = await this.peek();
    if (extent === null) throw new RangeError("a file ended before its size");
    const piece = await this.#snapshot.read([extent[0], extent[1], length]);
    return "bytes" in piece ? Buffer.from(piece.bytes) : Buffer.alloc(piece.zeroBytes);
  }

  skip(length: number): void {
    this.#done += length;
  }
}
