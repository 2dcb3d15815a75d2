// Who belongs to the Raft group: from the snapshot, then changed by the log's membership entries.
// Source: moby/swarmkit api/snapshot.proto (ClusterSnapshot), etcd raft/raftpb/raft.proto (ConfChange).
import { decodeRaftMember, type RaftMember } from "./raft-messages.ts";
import { formatError, readCounter, readFields, readPackedUint64, readUint64 } from "./wire.ts";

export class Membership {
  readonly members = new Map<bigint, RaftMember>();
  readonly removed = new Set<bigint>();

  /** Loads a ClusterSnapshot into an empty membership. */
  load(snapshot: Uint8Array): void {
    readFields("ClusterSnapshot", snapshot, (tag, reader) => {
      if (tag === 0x0a) {
        const member = decodeRaftMember(reader.bytes());
        this.members.set(member.raftId, member);
      } else if (tag === 0x10) this.removed.add(readUint64(reader));
      else if (tag === 0x12) for (const raftId of readPackedUint64(reader)) this.removed.add(raftId);
      else return false;
      return true;
    });
  }

  /** Applies a raftpb.ConfChange { 1 ID, 2 Type, 3 NodeID, 4 Context = RaftMember }. */
  apply(change: Uint8Array): void {
    let type = 0;
    let raftId = 0n;
    let context: Uint8Array | null = null as Uint8Array | null;
    readFields("ConfChange", change, (tag, reader) => {
      if (tag === 0x08) readUint64(reader);
      else if (tag === 0x10) type = readCounter(reader);
      else if (tag === 0x18) raftId = readUint64(reader);
      else if (tag === 0x22) context = reader.bytes();
      else return false;
      return true;
    });
    if (type === confChange.remove) {
      this.members.delete(raftId);
      this.removed.add(raftId);
    } else if ((type === confChange.add || type === confChange.update) && context !== null) {
      this.members.set(raftId, decodeRaftMember(context));
    } else throw formatError(`ConfChange: unknown type ${type}, or no member`);
  }
}

const confChange = { add: 0, remove: 1, update: 2 } as const;
