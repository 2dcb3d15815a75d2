// The state of a walk over WAL records, segment after segment: what etcd checks on load, and a little more.
// - CRC chain: one running CRC-32C over the data of all records, never reset; each record notes the value after it. A
//   CRC record at the head of a segment notes the value before it, and seeds a reader that starts there.
// - A segment begins with a CRC record, then the metadata record, which is the same in all segments.
// - Entries after the snapshot's index S have no gap. An entry whose index was there already replaces it and drops
//   what followed (a follower that was overruled). Entries up to S are ignored.
// - The last hard state wins.
// A record is checked wholly before anything of it is kept: after a refusal the walk can go on with a better reading of
// the same bytes.
import { crc32c } from "./crc32c.ts";
import {
  decodeEntry,
  decodeHardState,
  decodeRaftMember,
  decodeSnapshotNote,
  type Entry,
  type HardState,
  type RaftMember,
  type SnapshotNote,
} from "./raft-messages.ts";
import { recordType, type Frame } from "./wal-frames.ts";
import { formatError } from "./wire.ts";

/** What a record turned out to be; null for CRC and metadata records. */
export type WalRecord =
  | { kind: "entry"; entry: Entry }
  | { kind: "state"; state: HardState }
  | { kind: "snapshot"; note: SnapshotNote }
  | null;

const segmentHead = [recordType.crc, recordType.metadata];

export class WalWalk {
  /** Index of the snapshot that the log continues; 0 without one. */
  readonly snapshotIndex: number;
  /** Index of the last entry that counts; the snapshot's where none follows it. */
  lastIndex: number;
  lastTerm = 0;
  /** Entry records seen, with those that were ignored or replaced later. */
  entryRecords = 0;
  member: RaftMember | null = null;
  state: HardState | null = null;
  /** Notes of snapshots, by index, with their term. */
  readonly notes = new Map<number, number>();

  #running = 0;
  #metadata: Uint8Array | null = null;
  #recordsInSegment = 0;

  constructor(snapshotIndex: number) {
    this.snapshotIndex = snapshotIndex;
    this.lastIndex = snapshotIndex;
  }

  /** To be called before the first record of each segment. */
  beginSegment(): void {
    this.#recordsInSegment = 0;
  }

  get recordsInSegment(): number {
    return this.#recordsInSegment;
  }

  /** Checks and takes the next record. Throws SKEP_RAFT_FORMAT and stays as it was. */
  accept(frame: Frame): WalRecord {
    const expected = this.#recordsInSegment < 2 ? segmentHead[this.#recordsInSegment] : frame.type;
    if (frame.type !== expected) {
      throw formatError(`a segment begins with CRC and metadata records, not with type ${frame.type}`);
    }
    if (frame.type === recordType.crc) {
      this.#acceptCrc(frame);
      return null;
    }
    const running = crc32c(frame.data, this.#running);
    if (running !== frame.crc) {
      throw formatError(`CRC chain broken: ${hex8(running)}, noted ${hex8(frame.crc)}`);
    }
    const record = this.#acceptContent(frame);
    this.#running = running;
    this.#recordsInSegment++;
    return record;
  }

  #acceptCrc(frame: Frame): void {
    if (frame.data.length > 0) throw formatError("a CRC record with data");
    if (this.#running !== 0 && this.#running !== frame.crc) {
      throw formatError(`CRC chain broken between segments: ${hex8(this.#running)}, noted ${hex8(frame.crc)}`);
    }
    this.#running = frame.crc;
    this.#recordsInSegment++;
  }

  #acceptContent(frame: Frame): WalRecord {
    switch (frame.type) {
      case recordType.entry: {
        const entry = decodeEntry(frame.data);
        this.#acceptEntry(entry);
        return { kind: "entry", entry };
      }
      case recordType.state: {
        const state = decodeHardState(frame.data);
        this.state = state;
        return { kind: "state", state };
      }
      case recordType.snapshot: {
        const note = decodeSnapshotNote(frame.data);
        this.notes.set(note.index, note.term);
        return { kind: "snapshot", note };
      }
      case recordType.metadata: {
        const member = decodeRaftMember(frame.data);
        if (this.#metadata !== null && Buffer.compare(this.#metadata, frame.data) !== 0) {
          throw formatError("metadata records differ");
        }
        this.#metadata = Uint8Array.from(frame.data);
        this.member = member;
        return null;
      }
      case recordType.crc:
        return null;
    }
  }

  #acceptEntry(entry: Entry): void {
    if (entry.index > this.snapshotIndex) {
      if (entry.index > this.lastIndex + 1) {
        throw formatError(
          `entry ${entry.index} follows entry ${this.lastIndex}: ${gap(this.lastIndex, entry.index)} missing`,
        );
      }
      this.lastIndex = entry.index;
      this.lastTerm = entry.term;
    }
    this.entryRecords++;
  }
}

/** An engine that loads a hard state outside of what it has dies. Throws SKEP_RAFT_FORMAT. */
export function checkCommit(walk: WalWalk, state: HardState): void {
  const { snapshotIndex, lastIndex } = walk;
  if (state.commit >= snapshotIndex && state.commit <= lastIndex) return;
  throw formatError(
    `raft: commit index ${state.commit} is outside of snapshot ${snapshotIndex} and last entry ${lastIndex}`,
  );
}

function gap(last: number, next: number): string {
  return next - last === 2 ? `entry ${last + 1} is` : `entries ${last + 1} to ${next - 1} are`;
}

function hex8(value: number): string {
  return value.toString(16).padStart(8, "0");
}
