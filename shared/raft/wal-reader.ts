// Reads one WAL segment in pieces, feeding a WalWalk, and stops at the preallocated tail: of 64 MB that are mostly
// zeros only the used part and a piece more is read.
import { SkepError } from "../errors.ts";
import type { SwarmFile } from "./swarm-files.ts";
import { decodeFrame } from "./wal-frames.ts";
import type { WalRecord, WalWalk } from "./wal-walk.ts";

export interface SegmentEnd {
  /**
   * `eof`: the file ends with a record. `zero`: a zero length word follows the last record.
   * `bad`: what follows is no record that belongs there, or only a part of one.
   */
  kind: "eof" | "zero" | "bad";
  /** Where the last good record ends. */
  offset: number;
  /** Why, when bad. */
  reason: string;
}

export interface SegmentSinks {
  /** Called for each record, in order. */
  onRecord?: (record: WalRecord) => void;
  /** Called with the bytes of all records taken, in order, a piece at a time. */
  onBytes?: (bytes: Uint8Array) => Promise<void>;
}

const firstPieceBytes = 64 * 1024;
const pieceBytes = 1024 * 1024;
/** A zero length word that a damaged disk made is followed by the rest of its record, not by more zeros. */
const tailProbeBytes = 4096;

/**
 * Walks from `fromOffset` (a record boundary) to the end of the good records. Throws what the file's reading throws and
 * the signal's reason; what the bytes say is in the result.
 */
export async function walkSegment(
  file: SwarmFile,
  walk: WalWalk,
  fromOffset: number,
  sinks: SegmentSinks,
  signal: AbortSignal,
): Promise<SegmentEnd> {
  let windowStart = fromOffset;
  let window: Uint8Array = await file.read(windowStart, firstPieceBytes);
  let atEof = window.length < firstPieceBytes;
  for (;;) {
    signal.throwIfAborted();
    let at = 0;
    let neededBytes = 0;
    let end: SegmentEnd | null = null;
    while (at < window.length) {
      const result = decodeFrame(window, at);
      if (result.kind === "frame") {
        try {
          const record = walk.accept(result.frame);
          sinks.onRecord?.(record);
        } catch (error) {
          if (!(error instanceof SkepError) || error.code !== "SKEP_RAFT_FORMAT") throw error;
          end = { kind: "bad", offset: windowStart + at, reason: error.message };
          break;
        }
        at += result.frame.lengthBytes;
        continue;
      }
      if (result.kind === "short") neededBytes = result.neededBytes;
      else if (result.kind === "zero") end = { kind: "zero", offset: windowStart + at, reason: "" };
      else end = { kind: "bad", offset: windowStart + at, reason: result.reason };
      break;
    }
    if (at > 0) await sinks.onBytes?.(window.subarray(0, at));
    const offset = windowStart + at;
    if (end?.kind === "zero") return probeTail(file, offset);
    if (end !== null) return end;
    if (atEof) {
      if (at === window.length) return { kind: "eof", offset, reason: "" };
      return { kind: "bad", offset, reason: `the file ends within a record` };
    }
    const wantedBytes = Math.max(pieceBytes, neededBytes);
    windowStart = offset;
    window = await file.read(windowStart, wantedBytes);
    atEof = window.length < wantedBytes;
  }
}

async function probeTail(file: SwarmFile, offset: number): Promise<SegmentEnd> {
  const tail = await file.read(offset, tailProbeBytes);
  return tail.every((byte) => byte === 0)
    ? { kind: "zero", offset, reason: "" }
    : { kind: "bad", offset, reason: "a zero length word is followed by other bytes" };
}
