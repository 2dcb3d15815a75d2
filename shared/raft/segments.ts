// Names of WAL segments and snapshot files, and which segments a snapshot needs.
// Segment: <seq>-<index>.wal, snapshot: <term>-<index>.snap, both numbers as 16 lower-case hex digits. seq counts from
// 0 by one; a segment's index is that of the first entry it may hold (0 in the first). Source: etcd wal/util.go,
// snap/snapshotter.go.
import { formatError } from "./wire.ts";

/** Places below the swarm directory. */
export const walDirectory = "raft/wal-v3-encrypted";
export const snapshotDirectory = "raft/snap-v3-encrypted";

export interface SegmentName {
  name: string;
  seq: number;
  /** Index of the first entry that the segment may hold. */
  index: number;
}

export interface SnapshotName {
  name: string;
  term: number;
  index: number;
}

/** Null for anything that is not a segment (N.tmp, *.broken). */
export function parseSegmentName(name: string): SegmentName | null {
  const numbers = parseHexPair(name, ".wal");
  return numbers === null ? null : { name, seq: numbers[0], index: numbers[1] };
}

/** Null for anything that is not a snapshot file. */
export function parseSnapshotName(name: string): SnapshotName | null {
  const numbers = parseHexPair(name, ".snap");
  return numbers === null ? null : { name, term: numbers[0], index: numbers[1] };
}

export function segmentName(seq: number, index: number): string {
  return `${hex16(seq)}-${hex16(index)}.wal`;
}

export function snapshotName(term: number, index: number): string {
  return `${hex16(term)}-${hex16(index)}.snap`;
}

/**
 * The segments from which a log after snapshot index `snapshotIndex` (0 without snapshot) is read, in order: the last
 * one whose index is not above it, and all that follow. Throws SKEP_RAFT_FORMAT where there is none or a number is
 * missing in between. `why`: what is to be said besides where none reaches back.
 */
export function neededSegments(names: readonly string[], snapshotIndex: number, why = ""): SegmentName[] {
  const segments = names
    .map(parseSegmentName)
    .filter((segment) => segment !== null)
    .sort((left, right) => left.seq - right.seq || left.index - right.index);
  const start = segments.findLastIndex((segment) => segment.index <= snapshotIndex);
  if (start < 0) {
    throw formatError(
      `${walDirectory}: no segment reaches back to index ${snapshotIndex} (${segments.length} present)${why}`,
    );
  }
  const needed = segments.slice(start);
  for (const [position, segment] of needed.entries()) {
    const before = needed[position - 1];
    if (before !== undefined && (segment.seq !== before.seq + 1 || segment.index < before.index)) {
      throw formatError(`${walDirectory}: ${segment.name} does not follow ${before.name}`);
    }
  }
  return needed;
}

function parseHexPair(name: string, suffix: string): [number, number] | null {
  const match = /^([0-9a-f]{16})-([0-9a-f]{16})(\.[a-z]+)$/.exec(name);
  if (match?.[3] !== suffix) return null;
  const numbers: [number, number] = [Number(`0x${match[1] ?? ""}`), Number(`0x${match[2] ?? ""}`)];
  return numbers.every(Number.isSafeInteger) ? numbers : null;
}

function hex16(value: number): string {
  return value.toString(16).padStart(16, "0");
}
