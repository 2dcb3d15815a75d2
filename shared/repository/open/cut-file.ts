// A file of a snapshot without some of its stretches. Of what is left out nothing is fetched.
import type { Extent } from "../manifest.ts";
import type { Snapshot, SnapshotEntry } from "./snapshot-reader.ts";

/** Bytes [from, to) of a file. */
export type Stretch = readonly [from: number, to: number];

/** All extents of a file, for cutFile. */
export async function allExtents(snapshot: Snapshot, entry: SnapshotEntry): Promise<Extent[]> {
  return (await Array.fromAsync(snapshot.extents(entry))).flat();
}

/** An entry for Snapshot's content: these stretches of the file, one after the other. They ascend, apart from each other. */
export function cutFile(
  entry: SnapshotEntry,
  extents: readonly Extent[],
  stretches: readonly Stretch[],
): SnapshotEntry {
  const cut: Extent[] = [];
  let next = 0;
  let at = 0;
  for (const [from, to] of stretches) {
    for (; next < extents.length && at < to;) {
      const [name, offset, length] = extents[next] as Extent;
      const [start, end] = [Math.max(from, at), Math.min(to, at + length)];
      if (start < end) cut.push([name, offset + start - at, end - start]);
      // The rest of it may be in the next stretch.
      if (at + length > to) break;
      at += length;
      next++;
    }
  }
  const sizeBytes = stretches.reduce((sum, [from, to]) => sum + to - from, 0);
  const part: SnapshotEntry = { ...entry, extents: cut, sizeBytes };
  // All are here.
  delete part.moreLines;
  return part;
}
