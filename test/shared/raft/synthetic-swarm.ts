// Swarm directories made for tests: whole WALs with sealed entries, snapshots, and certificates that belong to their
// keys. Entry 1 makes the manager a member, entry 2 creates cluster and node, each later one a config `config-INDEX`.
import { createPrivateKey } from "node:crypto";

import { generate } from "selfsigned";

import { crc32c } from "../../../shared/raft/crc32c.ts";
import { dataKeyHeader } from "../../../shared/raft/data-keys.ts";
import { encodeKeyFile } from "../../../shared/raft/key-file.ts";
import {
  encodeEntry,
  encodeHardState,
  encodeRaftMember,
  encodeSnapshotNote,
  type Entry,
  type HardState,
} from "../../../shared/raft/raft-messages.ts";
import { encodeSnapshot, ObjectStore } from "../../../shared/raft/object-store.ts";
import { sealRecord } from "../../../shared/raft/sealed-record.ts";
import { segmentName, snapshotDirectory, snapshotName, walDirectory } from "../../../shared/raft/segments.ts";
import { encodeSnapshotFile } from "../../../shared/raft/snapshot-file.ts";
import { encodeMessage, type Message, type MessageInit } from "../../../shared/raft/swarmkit/message-types.ts";
import { BinaryWriter } from "../../../shared/raft/wire.ts";
import { encodeFrame, recordType, type RecordType } from "../../../shared/raft/wal-frames.ts";

export const member = { raftId: 0x3f0e_1234_5678_9abcn, nodeId: "nodeidnodeidnodeidnodeid1", addr: "10.0.0.1:2377" };

/** Writes segments as etcd does: running CRC over all of them, CRC and metadata records at the head of each. */
export const clusterId = "clusteridclusteridcluster";
export const dek = Buffer.alloc(32, 7);

const sealedEntries = new Map<number, Uint8Array>();

/** The sealed content of the entry that plain WALs have at `index`; the same bytes at each call. */
export function sealedEntry(index: number): Uint8Array {
  const known = sealedEntries.get(index);
  if (known !== undefined) return known;
  const sealed = sealRecord(index === 1 ? addSelf() : request(index, objectsOf(index)), dek);
  sealedEntries.set(index, sealed);
  return sealed;
}

function addSelf(): Uint8Array {
  return new BinaryWriter()
    .uint32(0x08)
    .uint64(1)
    .uint32(0x10)
    .uint64(0)
    .uint32(0x18)
    .uint64(member.raftId)
    .uint32(0x22)
    .bytes(encodeRaftMember(member))
    .finish();
}

type Target = NonNullable<MessageInit<Message<"StoreAction">>["target"]>;

/** An InternalRaftRequest that creates the objects. */
export function request(index: number, objects: Target[], action = 1): Uint8Array {
  return encodeMessage("InternalRaftRequest", {
    id: BigInt(index),
    action: objects.map((target) => ({ action, target })),
  });
}

function objectsOf(index: number): Target[] {
  const meta = { version: { index: BigInt(index) } };
  if (index === 2) {
    return [
      { case: "cluster", value: { id: clusterId, meta, spec: { annotations: { name: "default" } } } },
      { case: "node", value: { id: member.nodeId, meta, description: { hostname: "node1" } } },
    ];
  }
  const spec = { annotations: { name: `config-${index}` }, data: Buffer.from(`content of ${index}`) };
  return [{ case: "config", value: { id: `configid${index}`, meta, spec } }];
}

export class WalWriter {
  readonly segments: { name: string; bytes: Uint8Array }[] = [];
  #frames: Uint8Array[] = [];
  #running = 0;
  #seq = 0;
  #name: string;

  constructor(seq = 0, index = 0, running = 0) {
    this.#seq = seq;
    this.#running = running;
    this.#name = segmentName(seq, index);
    this.#head();
  }

  #head(): void {
    this.#frames.push(encodeFrame(recordType.crc, this.#running, null));
    this.record(recordType.metadata, encodeRaftMember(member));
  }

  record(type: RecordType, data: Uint8Array): this {
    this.#running = crc32c(data, this.#running);
    this.#frames.push(encodeFrame(type, this.#running, data));
    return this;
  }

  entry(index: number, data: Uint8Array = sealedEntry(index), term = 2): this {
    const type = index === 1 ? 1 : 0;
    return this.record(recordType.entry, encodeEntry({ type, term, index, data } satisfies Entry));
  }

  state(commit: number, term = 2): this {
    return this.record(recordType.state, encodeHardState({ term, vote: member.raftId, commit } satisfies HardState));
  }

  note(index: number, term = 2): this {
    return this.record(recordType.snapshot, encodeSnapshotNote({ index, term }, [member.raftId]));
  }

  /** Closes this segment and opens the next, whose first entry will have `index`. */
  cut(index: number): this {
    this.segments.push({ name: this.#name, bytes: Buffer.concat(this.#frames) });
    this.#frames = [];
    this.#seq++;
    this.#name = segmentName(this.#seq, index);
    this.#head();
    return this;
  }

  /** All segments; the last with `tailBytes` preallocated zeros. */
  finish(tailBytes = 0): { name: string; bytes: Uint8Array }[] {
    const last = Buffer.concat([...this.#frames, Buffer.alloc(tailBytes)]);
    return [...this.segments, { name: this.#name, bytes: last }];
  }
}

/** A WAL of entries 1 to `last`, each followed by the state that commits it, cut into segments at `cuts`. */
export function plainWal(last: number, cuts: readonly number[] = []): WalWriter {
  const writer = new WalWriter().note(0, 0);
  for (let index = 1; index <= last; index++) {
    if (cuts.includes(index)) writer.cut(index).state(index - 1);
    writer.entry(index).state(index);
  }
  return writer;
}

let certificates: Promise<Map<string, Uint8Array>> | undefined;

/** Key, certificate and root of one node, made once for all tests. */
export function syntheticCertificates(): Promise<Map<string, Uint8Array>> {
  certificates ??= makeCertificates();
  return certificates;
}

async function makeCertificates(): Promise<Map<string, Uint8Array>> {
  const root = await generate([{ name: "commonName", value: "swarm-ca" }], {
    keyType: "ec",
    curve: "P-256",
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
    ],
  });
  const made = await generate(
    [
      { shortName: "O", value: clusterId },
      { shortName: "OU", value: "swarm-manager" },
      { name: "commonName", value: member.nodeId },
    ],
    { keyType: "ec", curve: "P-256", ca: { key: root.private, cert: root.cert } },
  );
  const der = createPrivateKey(made.private).export({ type: "pkcs8", format: "der" });
  const headers = new Map([
    ["kek-version", "0"],
    ["raft-dek", dataKeyHeader(dek, null)],
  ]);
  return new Map([
    ["certificates/swarm-node.key", encodeKeyFile({ blockType: "PRIVATE KEY", headers, der })],
    ["certificates/swarm-node.crt", Buffer.from(made.cert)],
    ["certificates/swarm-root-ca.crt", Buffer.from(root.cert)],
    // No file of an engine: the key that signs certificates of this swarm.
    ["test/root.key", Buffer.from(root.private)],
  ]);
}

export interface SyntheticSnapshot {
  index: number;
  term: number;
}

/** A whole directory by path, as memoryFiles takes it. */
export async function syntheticSwarm(
  segments: readonly { name: string; bytes: Uint8Array }[],
  snapshot?: SyntheticSnapshot,
): Promise<Map<string, Uint8Array>> {
  const files = new Map(await syntheticCertificates());
  for (const { name, bytes } of segments) files.set(`${walDirectory}/${name}`, bytes);
  if (snapshot !== undefined) {
    files.set(
      `${snapshotDirectory}/${snapshotName(snapshot.term, snapshot.index)}`,
      encodeSnapshotFile({
        ...snapshot,
        voters: [member.raftId],
        data: sealRecord(plainSnapshot(snapshot.index), dek),
      }),
    );
  }
  files.set("state.json", Buffer.from("[]"));
  return files;
}

/** What the entries up to `index` make, as a snapshot's plaintext. */
export function plainSnapshot(index: number): Uint8Array {
  const store = new ObjectStore();
  for (let at = 2; at <= index; at++) store.apply(request(at, objectsOf(at)), at);
  return encodeSnapshot([encodeRaftMember(member)], [], store);
}
