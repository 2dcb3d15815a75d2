// A snapshot file: protobuf { 1 crc uint32, 2 data bytes }, crc = CRC-32C of data from 0. data is a raftpb.Snapshot
// { 1 data: MaybeEncryptedRecord, 2 metadata { 1 conf_state, 2 index, 3 term } }; only its data is encrypted.
// Written in place by the engine, so a copy may see it half-written: then the CRC fails.
// Source: etcd server/etcdserver/api/snap (snapshotter.go, snappb/snap.proto), raft/raftpb/raft.proto.
import { crc32c } from "./crc32c.ts";
import { decodeConfState, encodeConfState } from "./raft-messages.ts";
import { BinaryWriter, formatError, readCounter, readFields } from "./wire.ts";

export interface SnapshotFile {
  index: number;
  term: number;
  voters: bigint[];
  /** A MaybeEncryptedRecord, still sealed. */
  data: Uint8Array;
}

/** Checks the CRC and reads the parts that are in clear. Throws SKEP_RAFT_FORMAT. */
export function decodeSnapshotFile(bytes: Uint8Array): SnapshotFile {
  let crc = -1;
  let body: Uint8Array = new Uint8Array(0);
  readFields("snapshot file", bytes, (tag, reader) => {
    if (tag === 0x08) crc = readCounter(reader);
    else if (tag === 0x12) body = reader.bytes();
    else return false;
    return true;
  });
  // An empty file and a file of zeros are what a crash leaves; neither has a body.
  if (body.length === 0) throw formatError("snapshot file: empty");
  const actual = crc32c(body);
  if (crc !== actual) throw formatError(`snapshot file: CRC is ${hex8(actual)}, noted ${hex8(crc)}`);

  let data = null as Uint8Array | null;
  let index = -1;
  let term = -1;
  let voters: bigint[] = [];
  readFields("snapshot", body, (tag, reader) => {
    if (tag === 0x0a) data = reader.bytes();
    else if (tag === 0x12) {
      readFields("snapshot metadata", reader.bytes(), (metadataTag, metadata) => {
        if (metadataTag === 0x0a) voters = decodeConfState(metadata.bytes()).voters;
        else if (metadataTag === 0x10) index = readCounter(metadata);
        else if (metadataTag === 0x18) term = readCounter(metadata);
        else return false;
        return true;
      });
    } else return false;
    return true;
  });
  if (data === null || index < 1 || term < 1) throw formatError("snapshot: data, index or term is missing");
  return { index, term, voters, data };
}

export function encodeSnapshotFile(snapshot: SnapshotFile): Uint8Array {
  const metadata = new BinaryWriter()
    .uint32(0x0a)
    .bytes(encodeConfState(snapshot.voters))
    .uint32(0x10)
    .uint64(snapshot.index)
    .uint32(0x18)
    .uint64(snapshot.term)
    .finish();
  const body = new BinaryWriter().uint32(0x0a).bytes(snapshot.data).uint32(0x12).bytes(metadata).finish();
  return new BinaryWriter().uint32(0x08).uint32(crc32c(body)).uint32(0x12).bytes(body).finish();
}

function hex8(value: number): string {
  return value < 0 ? "nothing" : value.toString(16).padStart(8, "0");
}
