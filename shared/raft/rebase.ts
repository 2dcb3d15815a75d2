// Prepares a swarm directory for a new life, offline: one manager, a new address, everything folded into one snapshot.
// An engine loads it without --force-new-cluster (which would keep the old address, drop what is not marked committed and
// change settings of the cluster). Written are
// - the snapshot at the last applied index: membership of this manager alone, all objects as they were;
// - a log of five records: CRC, metadata (new address), the note of index 0, the note of that snapshot, the hard state;
// - certificates and key (locked as before, or unlocked), the certificate made anew where it ended;
// - state.json and docker-state.json for the new address. The latter makes the engine start the swarm at once; where a
//   certificate is missing beside it, an engine wipes the whole directory: lay it down last.
import { isIP } from "node:net";

import { SkepError } from "../errors.ts";
import { encodePrivateKey, openPrivateKey } from "./certificates.ts";
import { crc32c } from "./crc32c.ts";
import { dataKeyHeader } from "./data-keys.ts";
import { holdServices, type HeldService } from "./hold.ts";
import { undoHolds, type UndoneHold } from "./undo-holds.ts";
import { encodeKeyFile, isLocked } from "./key-file.ts";
import { encodeSnapshot, objectKinds } from "./object-store.ts";
import { encodeHardState, encodeRaftMember, encodeSnapshotNote, type RaftMember } from "./raft-messages.ts";
import { readSwarm, type SwarmState } from "./read-swarm.ts";
import { reissueCertificate } from "./reissue.ts";
import { sealRecord } from "./sealed-record.ts";
import { segmentName, snapshotDirectory, snapshotName, walDirectory } from "./segments.ts";
import { encodeSnapshotFile } from "./snapshot-file.ts";
import { memoryFiles } from "./swarm-files.ts";
import { decodeMessage, type Message } from "./swarmkit/message-types.ts";
import { encodeFrame, recordType, type RecordType } from "./wal-frames.ts";
import { formatError } from "./wire.ts";

export interface RebaseOptions {
  /** IP address that other nodes reach this manager by. */
  advertiseAddress: string;
  /** Cluster port; 2377 unless the swarm listened elsewhere. */
  port?: number;
  /** IP address or interface for overlay traffic; empty: the advertised one. */
  dataPathAddress?: string;
  /** The unlock key, where the source is locked. */
  unlockKey?: Uint8Array | null;
  /**
   * Writes the key file in clear, so that the engine starts without `docker swarm unlock`; of an autolocked swarm it
   * locks it again at once, with the same unlock key.
   */
  unlocked?: boolean;
  /** Which services start nothing until they are released. */
  hold?: (service: Message<"Service">) => boolean;
  /** Milliseconds since 1970, for the certificate and for the records of holds. */
  now: number;
}

export interface RebasedFile {
  path: string;
  mode: number;
  bytes: Uint8Array;
}

export interface RebasedSwarm {
  /** In the order in which to lay them down. */
  files: RebasedFile[];
  held: HeldService[];
  /** Services that Skep held when the copy was taken, and that are as they were before again. */
  undone: UndoneHold[];
  /** What the reader found in it. */
  state: SwarmState;
  certificateReissued: boolean;
}

/**
 * `state` is used up: held services are changed in it. Throws SKEP_RAFT_ADDRESS for an address that is none,
 * SKEP_RAFT_REISSUE where a certificate ended that can't be made anew, SKEP_RAFT_FORMAT where the reader does not find
 * in the result what was put in.
 */
export async function rebaseSwarm(
  state: SwarmState,
  certificates: { node: Uint8Array; root: Uint8Array },
  options: RebaseOptions,
): Promise<RebasedSwarm> {
  if (state.store.unknownKinds.size > 0) throw newerEngine([...state.store.unknownKinds]);
  const address = memberAddress(options);
  const self: RaftMember = { ...state.member, addr: address };
  // Before what is to be held now: that notes what a service is to be again.
  const undone = undoHolds(state.store, options.now);
  const held = options.hold === undefined ? [] : holdServices(state.store, options.hold);
  const node = await currentCertificate(state, certificates, options);
  const unlockKey = options.unlocked === true ? null : (options.unlockKey ?? null);

  const files: RebasedFile[] = [
    { path: "certificates/swarm-root-ca.crt", mode: 0o644, bytes: certificates.root },
    { path: "certificates/swarm-node.key", mode: 0o600, bytes: keyFile(state, options, unlockKey) },
    { path: "certificates/swarm-node.crt", mode: 0o644, bytes: node.pem },
    snapshotFile(state, self),
    logFile(state, self),
    { path: "state.json", mode: 0o600, bytes: json([{ node_id: self.nodeId, addr: address }]) },
    { path: "docker-state.json", mode: 0o600, bytes: json(engineState(state, options, address)) },
  ];
  const read = await readSwarm(memoryFiles(new Map(files.map(({ path, bytes }) => [path, bytes]))), { unlockKey });
  checkSame(state, read);
  return { files, held, undone, state: read, certificateReissued: node.reissued };
}

function memberAddress({ advertiseAddress, port = defaultPort }: RebaseOptions): string {
  const family = isIP(advertiseAddress);
  if (family === 0 || !(port > 0 && port < 65536)) {
    throw new SkepError({
      code: "SKEP_RAFT_ADDRESS",
      message: `${advertiseAddress} port ${port} is no address of a manager`,
      permanent: true,
      hint: "give the IP address that the other nodes will use",
    });
  }
  return family === 6 ? `[${advertiseAddress}]:${port}` : `${advertiseAddress}:${port}`;
}

const defaultPort = 2377;

function keyFile(state: SwarmState, options: RebaseOptions, unlockKey: Uint8Array | null): Uint8Array {
  const key = state.keys.pending ?? state.keys.current;
  const wasLocked = isLocked(state.keyFile);
  // Version 0 is below that of every cluster object: the engine then takes the unlock key from there. Of a copy taken amid a
  // rotation the key file may be ahead of the objects, and with its own version it would stay so: locked with a key that
  // the swarm does not tell.
  if (wasLocked && unlockKey !== null) {
    const headers = new Map(state.keyFile.headers)
      .set("kek-version", "0")
      .set("raft-dek", dataKeyHeader(key, unlockKey, state.sealedWith));
    headers.delete("raft-dek-pending");
    headers.delete("raft-dek-needs-rotation");
    return encodeKeyFile({ ...state.keyFile, headers });
  }
  const privateKey = openPrivateKey(state.keyFile, wasLocked ? (options.unlockKey ?? null) : null);
  const headers = new Map([
    ["kek-version", "0"],
    ["raft-dek", dataKeyHeader(key, null)],
  ]);
  return encodeKeyFile({
    blockType: "PRIVATE KEY",
    headers,
    der: encodePrivateKey(privateKey),
  });
}

async function currentCertificate(
  state: SwarmState,
  certificates: { node: Uint8Array; root: Uint8Array },
  options: RebaseOptions,
): Promise<{ pem: Uint8Array; reissued: boolean }> {
  if (Date.parse(state.certificate.notAfter) - options.now > minimumValidityMs) {
    return { pem: certificates.node, reissued: false };
  }
  const cluster = clusterOf(state);
  const expiry = cluster.spec?.caConfig?.nodeCertExpiry?.seconds;
  const pem = await reissueCertificate(
    state.certificate,
    openPrivateKey(state.keyFile, isLocked(state.keyFile) ? (options.unlockKey ?? null) : null),
    { certificate: cluster.rootCa?.caCert ?? new Uint8Array(), key: cluster.rootCa?.caKey ?? new Uint8Array() },
    Number(expiry ?? defaultCertificateExpirySeconds) * 1000,
    options.now,
  );
  return { pem, reissued: true };
}

/** The engine renews by itself from half of a certificate's life on; an hour is enough for it to come up. */
const minimumValidityMs = 60 * 60 * 1000;
/** 90 days, swarmkit's default. */
const defaultCertificateExpirySeconds = 90n * 24n * 60n * 60n;

function snapshotFile(state: SwarmState, self: RaftMember): RebasedFile {
  const removed = new Set([...state.membership.removed, ...state.membership.members.keys()]);
  removed.delete(self.raftId);
  const plain = encodeSnapshot([encodeRaftMember(self)], [...removed], state.store);
  const bytes = encodeSnapshotFile({
    index: state.appliedIndex,
    term: state.appliedTerm,
    voters: [self.raftId],
    data: sealRecord(plain, state.keys.pending ?? state.keys.current, state.sealedWith),
  });
  const name = snapshotName(state.appliedTerm, state.appliedIndex);
  return { path: `${snapshotDirectory}/${name}`, mode: 0o600, bytes };
}

function logFile(state: SwarmState, self: RaftMember): RebasedFile {
  const { appliedIndex: index, appliedTerm: term } = state;
  const frames: Uint8Array[] = [encodeFrame(recordType.crc, 0, null)];
  let running = 0;
  const add = (type: RecordType, data: Uint8Array): void => {
    running = crc32c(data, running);
    frames.push(encodeFrame(type, running, data));
  };
  add(recordType.metadata, encodeRaftMember(self));
  add(recordType.snapshot, encodeSnapshotNote({ index: 0, term: 0 }, null));
  add(recordType.snapshot, encodeSnapshotNote({ index, term }, [self.raftId]));
  add(recordType.state, encodeHardState({ term: Math.max(term, state.proof.term), vote: 0n, commit: index }));
  return { path: `${walDirectory}/${segmentName(0, 0)}`, mode: 0o600, bytes: Buffer.concat(frames) };
}

/** What `docker swarm init` would have written; pool, size and port are the cluster's own. */
function engineState(state: SwarmState, options: RebaseOptions, address: string): Record<string, unknown> {
  const cluster = clusterOf(state);
  const listen = isIP(options.advertiseAddress) === 6 ? "[::]" : "0.0.0.0";
  return {
    LocalAddr: options.advertiseAddress,
    RemoteAddr: "",
    ListenAddr: `${listen}:${options.port ?? defaultPort}`,
    AdvertiseAddr: address,
    DataPathAddr: options.dataPathAddress ?? "",
    DefaultAddressPool: cluster.defaultAddressPool.length === 0 ? null : cluster.defaultAddressPool,
    SubnetSize: cluster.subnetSize,
    DataPathPort: cluster.vxlanudpport,
    JoinInProgress: false,
  };
}

function clusterOf(state: SwarmState): Message<"Cluster"> {
  const bytes = state.store.objects.cluster.get(state.clusterId);
  if (bytes === undefined) throw formatError("no cluster object");
  return decodeMessage("Cluster", bytes);
}

function checkSame(before: SwarmState, after: SwarmState): void {
  const fault =
    after.appliedIndex !== before.appliedIndex || after.membership.members.size !== 1
      ? "index or membership"
      : objectKinds.find((kind) => !sameObjects(before.store.objects[kind], after.store.objects[kind]));
  if (fault !== undefined) throw formatError(`the rebased directory does not hold what was put in: ${fault} differs`);
}

function sameObjects(before: ReadonlyMap<string, Uint8Array>, after: ReadonlyMap<string, Uint8Array>): boolean {
  if (before.size !== after.size) return false;
  for (const [id, bytes] of before) {
    const other = after.get(id);
    if (other === undefined || Buffer.compare(bytes, other) !== 0) return false;
  }
  return true;
}

function newerEngine(fields: string[]): SkepError {
  return new SkepError({
    code: "SKEP_RAFT_NEWER_ENGINE",
    message: `the state has kinds of object that this version does not know (${fields.join(", ")}); rebasing would lose them`,
    permanent: true,
    hint: "use a newer version of Skep",
  });
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}
