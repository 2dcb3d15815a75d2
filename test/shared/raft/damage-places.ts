// Where damage is tried in a swarm directory's files. The whole of the small ones; of a log, all of the first record of each kind, and of
// the others some bytes of head, content and padding, and each place where a record ends: within the content of a record
// the CRC makes all bytes alike, at its edges and in its head each byte means something else.
import fc from "fast-check";
import { decodeEntry } from "../../../shared/raft/raft-messages.ts";
import { decodeFrame, recordType, type Frame } from "../../../shared/raft/wal-frames.ts";

export interface DamagePlaces {
  /** Bytes to change. */
  changes: readonly number[];
  /** Lengths to cut the file to. */
  cuts: readonly number[];
}

/** Bytes of a snapshot file's ends that have its lengths, sums, indexes and members, with room. */
const snapshotEdgeBytes = 100;
const sampledInSnapshot = 300;

/** In rising order, none twice; the same for the same seed. */
export function damagePlaces(path: string, bytes: Uint8Array, seed: number): DamagePlaces {
  if (path.endsWith(".wal")) return logPlaces(bytes, seed);
  if (!path.endsWith(".snap")) return { changes: range(0, bytes.length), cuts: range(0, bytes.length) };
  const edges = [...range(0, snapshotEdgeBytes), ...range(bytes.length - snapshotEdgeBytes, bytes.length)];
  const places = (from: number): number[] => ordered([...edges, ...sample(0, bytes.length, sampledInSnapshot, from)]);
  return { changes: places(seed), cuts: places(seed + 1) };
}

function logPlaces(bytes: Uint8Array, seed: number): DamagePlaces {
  const changes: number[] = [];
  const cuts: number[] = [];
  const kinds = new Set<string>();
  let start = 0;
  for (let result = decodeFrame(bytes, 0); result.kind === "frame"; result = decodeFrame(bytes, start)) {
    const { frame } = result;
    const end = start + frame.lengthBytes;
    const kind = kindOf(frame);
    if (!kinds.has(kind)) {
      kinds.add(kind);
      changes.push(...range(start, end));
      cuts.push(...range(start, end));
    } else {
      // A record without data ends where its head does.
      const contentStart = frame.data.length === 0 ? end : frame.data.byteOffset - bytes.byteOffset;
      const contentEnd = contentStart + frame.data.length;
      changes.push(
        ...sample(start, contentStart, 4, seed + start),
        ...sample(contentStart, contentEnd, 2, seed + start),
      );
      changes.push(contentEnd - 1, ...sample(contentEnd, end, 1, seed + start));
      cuts.push(
        start,
        ...sample(start + 1, contentStart, 1, seed + start),
        ...sample(contentStart, end, 1, seed + start),
      );
    }
    start = end;
  }
  // What follows the last record.
  changes.push(...range(start, bytes.length));
  return { changes: ordered(changes), cuts: ordered(cuts) };
}

/** As far as a reader treats records differently. */
function kindOf({ type, data }: Frame): string {
  return type === recordType.entry ? `entry ${decodeEntry(data).type}` : `record ${type}`;
}

function range(start: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - start) }, (_, more) => start + more);
}

function sample(start: number, end: number, count: number, seed: number): number[] {
  if (start >= end) return [];
  return fc.sample(fc.integer({ min: start, max: end - 1 }), { numRuns: count, seed });
}

function ordered(places: readonly number[]): number[] {
  return [...new Set(places)].sort((a, b) => a - b);
}
