// A snapshot, or a part of one, as a tar stream: piece by piece, whatever the size of volume or files.
import { pathBytes } from "../../shared/repository/path-order.ts";
import type { Snapshot, SnapshotEntry } from "../../shared/repository/open/snapshot-reader.ts";
import type { SubtreeEntry } from "../../shared/repository/open/subtree.ts";
import { encodeSparseMap, encodeTarMember, padding, tarBlockBytes, tarEnd, type TarMember } from "./tar-member.ts";

/** More stretches than these in one file are not kept in mind: its holes are then written as the zeros that they read as. */
const maxStretches = 100_000;
const zeros = Buffer.alloc(256 * 1024);

type Stretch = readonly [offset: number, length: number];

export interface ExportTotals {
  entries: number;
  files: number;
  /** Of the tar. */
  tarBytes: number;
}

/** Bytes of a tar, its end included. `holes`: as GNU's sparse files, else as zeros. Counts into `totals`. */
export async function* exportTar(
  snapshot: Snapshot,
  entries: AsyncIterable<SubtreeEntry>,
  options: { holes: boolean },
  totals: ExportTotals,
): AsyncGenerator<Uint8Array> {
  for await (const subtreeEntry of entries) {
    totals.entries++;
    if (subtreeEntry.entry.type === "file") totals.files++;
    for await (const bytes of exportEntry(snapshot, subtreeEntry, options.holes)) {
      totals.tarBytes += bytes.length;
      yield bytes;
    }
  }
  totals.tarBytes += tarEnd.length;
  yield tarEnd;
}

async function* exportEntry(
  snapshot: Snapshot,
  { path, entry, linkTo }: SubtreeEntry,
  holes: boolean,
): AsyncGenerator<Uint8Array> {
  const member: TarMember = {
    name: path,
    type: linkTo === null ? entry.type : "link",
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtimeNs: entry.mtimeNs,
    storedBytes: 0,
    target: linkTo ?? (entry.type === "symlink" ? pathBytes(entry.linkTarget, entry.linkTargetBase64) : null),
    device: entry.device ?? null,
    xattrs: entry.xattrs ?? {},
    sparseBytes: null,
  };
  if (member.type !== "file") {
    yield encodeTarMember(member);
    return;
  }
  const sizeBytes = entry.sizeBytes ?? 0;
  const stretches = holes ? await stretchesOf(snapshot, entry, sizeBytes) : null;
  if (stretches === null) {
    yield encodeTarMember({ ...member, storedBytes: sizeBytes });
    for await (const bytes of stretchContent(snapshot, entry, [[0, sizeBytes]])) yield bytes;
    yield padding(sizeBytes);
    return;
  }
  const map = encodeSparseMap(stretches);
  const dataBytes = stretches.reduce((total, [, length]) => total + length, 0);
  yield encodeTarMember({ ...member, storedBytes: map.length + dataBytes, sparseBytes: sizeBytes });
  yield map;
  for await (const bytes of stretchContent(snapshot, entry, stretches)) yield bytes;
  yield padding(dataBytes);
}

/**
 * Where the file has data, in whole blocks (but for its end), so that the stretches stand in the tar without gaps. Null
 * where it has no holes, or too many.
 */
async function stretchesOf(snapshot: Snapshot, entry: SnapshotEntry, sizeBytes: number): Promise<Stretch[] | null> {
  const stretches: [number, number][] = [];
  let at = 0;
  for await (const extents of snapshot.extents(entry)) {
    for (const [name, , length] of extents) {
      const start = at;
      at += length;
      if (name === null || length === 0) continue;
      const from = start - (start % tarBlockBytes);
      const to = Math.min(sizeBytes, Math.ceil(at / tarBlockBytes) * tarBlockBytes);
      const last = stretches.at(-1);
      if (last !== undefined && from <= last[0] + last[1]) last[1] = to - last[0];
      else stretches.push([from, to - from]);
      if (stretches.length > maxStretches) return null;
    }
  }
  const [only] = stretches;
  if (sizeBytes === 0 || (stretches.length === 1 && only?.[1] === sizeBytes)) return null;
  const end = stretches.at(-1);
  if (end === undefined || end[0] + end[1] < sizeBytes) stretches.push([sizeBytes, 0]);
  return stretches;
}

/** The bytes of these stretches, in order; what the file has no data for within them as zeros. */
async function* stretchContent(
  snapshot: Snapshot,
  entry: SnapshotEntry,
  stretches: readonly Stretch[],
): AsyncGenerator<Uint8Array> {
  let at = 0;
  let index = 0;
  for await (const piece of snapshot.pieces(entry)) {
    const length = "bytes" in piece ? piece.bytes.length : piece.zeroBytes;
    const end = at + length;
    while (index < stretches.length) {
      const [start, stretchLength] = stretches[index] as Stretch;
      const from = Math.max(at, start);
      const to = Math.min(end, start + stretchLength);
      if (from < to) {
        if ("bytes" in piece) yield piece.bytes.subarray(from - at, to - at);
        else yield* zeroBytes(to - from);
      }
      if (start + stretchLength > end) break;
      index++;
    }
    at = end;
  }
}

function* zeroBytes(count: number): Generator<Uint8Array> {
  for (let left = count; left > 0; left -= zeros.length) yield zeros.subarray(0, Math.min(left, zeros.length));
}
