// Swarm directories made for tests: the encoder of whole WALs, and certificates that belong to their keys.
import { createPrivateKey } from "node:crypto";

import { generate } from "selfsigned";

import { crc32c } from "../../../shared/raft/crc32c.ts";
import { encodeKeyFile } from "../../../shared/raft/key-file.ts";
import {
  encodeEntry,
  encodeHardState,
  encodeRaftMember,
  encodeSnapshotNote,
  type Entry,
  type HardState,
} from "../../../shared/raft/raft-messages.ts";
import { segmentName, snapshotDirectory, snapshotName, walDirectory } from "../../../shared/raft/segments.ts";
import { encodeSnapshotFile } from "../../../shared/raft/snapshot-file.ts";
import { encodeFrame, recordType, type RecordType } from "../../../shared/raft/wal-frames.ts";

export const member = { raftId: 0x3f0e_1234_5678_9abcn, nodeId: "nodeidnodeidnodeidnodeid1", addr: "10.0.0.1:2377" };

/** Writes segments as etcd does: running CRC over all of them, CRC and metadata records at the head of each. */
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

  entry(index: number, data: Uint8Array = Buffer.from(`sealed entry ${index}`), term = 2): this {
    return this.record(recordType.entry, encodeEntry({ type: 0, term, index, data } satisfies Entry));
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

/** key, certificate and root of one node, made once for all tests (root and node are one: nothing here looks at it). */
export function syntheticCertificates(): Promise<Map<string, Uint8Array>> {
  certificates ??= makeCertificates();
  return certificates;
}

async function makeCertificates(): Promise<Map<string, Uint8Array>> {
  const made = await generate(
    [
      { shortName: "O", value: "clusteridclusteridcluster" },
      { shortName: "OU", value: "swarm-manager" },
      { name: "commonName", value: member.nodeId },
    ],
    { keyType: "ec", curve: "P-256" },
  );
  const der = createPrivateKey(made.private).export({ type: "pkcs8", format: "der" });
  const dek = Buffer.concat([Buffer.from([0x12, 0x20]), Buffer.alloc(32, 7)]);
  const headers = new Map([
    ["kek-version", "0"],
    ["raft-dek", dek.toString("base64")],
  ]);
  return new Map([
    ["certificates/swarm-node.key", encodeKeyFile({ blockType: "PRIVATE KEY", headers, der })],
    ["certificates/swarm-node.crt", Buffer.from(made.cert)],
    ["certificates/swarm-root-ca.crt", Buffer.from(made.cert)],
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
      encodeSnapshotFile({ ...snapshot, voters: [member.raftId], data: Buffer.from("sealed snapshot") }),
    );
  }
  files.set("state.json", Buffer.from("[]"));
  return files;
}
