// The messages inside WAL records and snapshot files that are not encrypted, encoder and decoder together. proto2 of
// etcd's raftpb and walpb, which write zero values explicitly; a required field that is absent is therefore a fault
// (a flipped record type shows itself so). Sources: etcd raft/raftpb/raft.proto, server/storage/wal/walpb/record.proto,
// and moby/swarmkit api/raft.proto, api/types.proto.
import { FieldReader } from "./field-reader.ts";
import { BinaryWriter, fieldFault, formatError, readCounter, readFields, readUint64, unexpectedField } from "./wire.ts";

export const entryType = { normal: 0, confChange: 1 } as const;

export interface Entry {
  /** 0 normal, 1 membership change. */
  type: number;
  term: number;
  index: number;
  /** A MaybeEncryptedRecord, still sealed. */
  data: Uint8Array;
}

export function decodeEntry(bytes: Uint8Array): Entry {
  let type = -1;
  let term = -1;
  let index = -1;
  let data: Uint8Array | null = null;
  // Without a function for each field, as of a hard state: the two are nearly all that a log has.
  const reader = new FieldReader(bytes);
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 0x08) type = readCounter(reader);
      else if (tag === 0x10) term = readCounter(reader);
      else if (tag === 0x18) index = readCounter(reader);
      else if (tag === 0x22) data = reader.bytes();
      else throw unexpectedField("entry", tag);
    }
  } catch (error) {
    throw fieldFault("entry", error);
  }
  if (type < 0 || term < 0 || index < 0 || data === null) throw formatError("entry: a field is missing");
  if (type !== entryType.normal && type !== entryType.confChange) throw formatError(`entry: unknown type ${type}`);
  return { type, term, index, data };
}

export function encodeEntry(entry: Entry): Uint8Array {
  return new BinaryWriter()
    .uint32(0x08)
    .uint64(entry.type)
    .uint32(0x10)
    .uint64(entry.term)
    .uint32(0x18)
    .uint64(entry.index)
    .uint32(0x22)
    .bytes(entry.data)
    .finish();
}

export interface HardState {
  term: number;
  /** Raft id voted for in this term; 0 for none. */
  vote: bigint;
  /** Highest index known to be committed when this was written. */
  commit: number;
}

export function decodeHardState(bytes: Uint8Array): HardState {
  let term = -1;
  let vote = -1n;
  let commit = -1;
  const reader = new FieldReader(bytes);
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 0x08) term = readCounter(reader);
      else if (tag === 0x10) vote = readUint64(reader);
      else if (tag === 0x18) commit = readCounter(reader);
      else throw unexpectedField("hard state", tag);
    }
  } catch (error) {
    throw fieldFault("hard state", error);
  }
  if (term < 0 || vote < 0n || commit < 0) throw formatError("hard state: a field is missing");
  return { term, vote, commit };
}

export function encodeHardState(state: HardState): Uint8Array {
  return new BinaryWriter()
    .uint32(0x08)
    .uint64(state.term)
    .uint32(0x10)
    .uint64(state.vote)
    .uint32(0x18)
    .uint64(state.commit)
    .finish();
}

export interface ConfState {
  voters: bigint[];
  /** Other members; swarm has none, so anything here is kept only to be noticed. */
  learners: bigint[];
}

export function decodeConfState(bytes: Uint8Array): ConfState {
  const voters: bigint[] = [];
  const learners: bigint[] = [];
  readFields("conf state", bytes, (tag, reader) => {
    if (tag === 0x08) voters.push(readUint64(reader));
    else if (tag === 0x10 || tag === 0x18 || tag === 0x20) learners.push(readUint64(reader));
    else if (tag === 0x28) reader.bool();
    else return false;
    return true;
  });
  return { voters, learners };
}

export function encodeConfState(voters: readonly bigint[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const voter of voters) writer.uint32(0x08).uint64(voter);
  // auto_leave, written explicitly by every version that knows it; skipped by those that do not.
  return writer.uint32(0x28).bool(false).finish();
}

/** The WAL's note that a snapshot was taken. */
export interface SnapshotNote {
  index: number;
  term: number;
}

export function decodeSnapshotNote(bytes: Uint8Array): SnapshotNote {
  let index = -1;
  let term = -1;
  readFields("snapshot record", bytes, (tag, reader) => {
    if (tag === 0x08) index = readCounter(reader);
    else if (tag === 0x10) term = readCounter(reader);
    else if (tag === 0x1a) decodeConfState(reader.bytes());
    else return false;
    return true;
  });
  if (index < 0 || term < 0) throw formatError("snapshot record: a field is missing");
  return { index, term };
}

/** `voters` null leaves the membership out, as the note of index 0 has none. */
export function encodeSnapshotNote(note: SnapshotNote, voters: readonly bigint[] | null): Uint8Array {
  const writer = new BinaryWriter().uint32(0x08).uint64(note.index).uint32(0x10).uint64(note.term);
  if (voters !== null) writer.uint32(0x1a).bytes(encodeConfState(voters));
  return writer.finish();
}

/** swarmkit's RaftMember, in the WAL's metadata record, in snapshots and as context of membership changes. */
export interface RaftMember {
  raftId: bigint;
  nodeId: string;
  /** host:port; in the metadata record the address as configured when the WAL was made. */
  addr: string;
}

export function decodeRaftMember(bytes: Uint8Array): RaftMember {
  const member: RaftMember = { raftId: 0n, nodeId: "", addr: "" };
  readFields("raft member", bytes, (tag, reader) => {
    if (tag === 0x08) member.raftId = readUint64(reader);
    else if (tag === 0x12) member.nodeId = reader.string();
    else if (tag === 0x1a) member.addr = reader.string();
    else if (tag === 0x22) reader.bytes();
    else return false;
    return true;
  });
  if (member.raftId === 0n || member.nodeId === "") throw formatError("raft member: an id is missing");
  return member;
}

export function encodeRaftMember(member: RaftMember): Uint8Array {
  return new BinaryWriter()
    .uint32(0x08)
    .uint64(member.raftId)
    .uint32(0x12)
    .string(member.nodeId)
    .uint32(0x1a)
    .string(member.addr)
    .finish();
}
