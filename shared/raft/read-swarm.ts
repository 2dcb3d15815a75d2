// Reads a swarm directory (a copy, an archive, a stopped engine's) to the objects in it, and proves it on the way: what
// an engine checks when it loads it, and what the engine would only find out by dying. In one pass, with the memory of
// the objects (at worst 8 KiB for each small one) plus one megabyte: entries are applied as soon as a hard state says
// that they are committed.
import { SkepError } from "../errors.ts";
import {
  checkCertificate,
  checkRoots,
  decodeNodeCertificate,
  encodePrivateKey,
  openPrivateKey,
  type NodeCertificate,
} from "./certificates.ts";
import { readDataKeys, type DataKeys } from "./data-keys.ts";
import { decodeKeyFile, isLocked, longestKeyFileBytes, type KeyFile } from "./key-file.ts";
import { Membership } from "./membership.ts";
import { decodeSnapshot, kindNumbers, objectKinds, ObjectStore } from "./object-store.ts";
import type { NewerEntry } from "./newer-entries.ts";
import type { RaftProof } from "./proof.ts";
import { damagedWarning, describeDamaged, newestSnapshot, type FoundSnapshot } from "./newest-snapshot.ts";
import type { RaftMember } from "./raft-messages.ts";
import { RecordOpener, Replay, type LoadedSnapshot } from "./replay.ts";
import { algorithm } from "./sealed-record.ts";
import { neededSegments, snapshotDirectory, walDirectory } from "./segments.ts";
import { longestSnapshotBytes } from "./size-limits.ts";
import { readWhole, type SwarmFiles } from "./swarm-files.ts";
import { decodeMessage, unknownFields } from "./swarmkit/message-types.ts";
import { walkSegment } from "./wal-reader.ts";
import { checkCommit, WalWalk } from "./wal-walk.ts";
import { formatError } from "./wire.ts";

export interface ReadOptions {
  /** The 32 bytes of the unlock key; needed where the directory is locked. */
  unlockKey?: Uint8Array | null;
  /** Applies entries above the commit index too. Without a marker write before the copy they may be acknowledged. */
  includeNewer?: boolean;
  /** An index that is known from elsewhere to be committed, though the disk does not say so yet. */
  knownCommit?: number;
  signal?: AbortSignal;
  longestSnapshotBytes?: number;
}

export interface SwarmState {
  proof: RaftProof;
  /** Last applied index: the commit index as known, or the last with `includeNewer`; and the term of that entry. */
  appliedIndex: number;
  appliedTerm: number;
  /** Term of the last entry of the log, committed or not. */
  lastTerm: number;
  /** What stands above the commit index as known, in order; with `includeNewer` it is applied. */
  newer: NewerEntry[];
  /** This manager, as its log's metadata names it (the address may be 0.0.0.0 there). */
  member: RaftMember;
  membership: Membership;
  store: ObjectStore;
  clusterId: string;
  keyFile: KeyFile;
  keys: DataKeys;
  /** How this swarm's engines seal: Fernet in FIPS mode. */
  sealedWith: number;
  certificate: NodeCertificate;
  /** What is no reason to refuse, but to look. For people. */
  warnings: string[];
}

const none = new Uint8Array(0);

/**
 * Throws SKEP_RAFT_FORMAT (with file and byte offset) where the directory would not load or its content is not sound,
 * SKEP_RAFT_LOCKED and SKEP_RAFT_UNLOCK_KEY for the lock, SKEP_RAFT_UNREADABLE where a file can't be read.
 */
export async function readSwarm(files: SwarmFiles, options: ReadOptions = {}): Promise<SwarmState> {
  const signal = options.signal ?? new AbortController().signal;
  const warnings: string[] = [];
  const keyFile = decodeKeyFile(await required(files, "certificates/swarm-node.key"));
  const keys = readDataKeys(keyFile, options.unlockKey ?? null);
  const certificate = await readCertificate(files, keyFile, options.unlockKey ?? null, warnings);

  const opener = new RecordOpener(keys);
  const found = await newestSnapshot(files, options.longestSnapshotBytes ?? longestSnapshotBytes);
  warnings.push(...found.damaged.map(damagedWarning));
  const snapshot = loadSnapshot(found.newest, opener);
  const walk = new WalWalk(snapshot.index);
  walk.lastTerm = snapshot.term;
  const replay = new Replay(snapshot, opener);
  let usedBytes = found.newest?.bytes.length ?? 0;
  const names = await files.list(walDirectory);
  // With a snapshot and no log an engine silently starts a new, empty cluster.
  if (names === null || !names.some((name) => name.endsWith(".wal"))) throw notAManager();
  const segments = neededSegments(names, snapshot.index, describeDamaged(found.damaged));
  for (const [position, segment] of segments.entries()) {
    const path = `${walDirectory}/${segment.name}`;
    const file = await files.open(path);
    if (file === null) throw formatError(`${path}: missing`);
    try {
      walk.beginSegment();
      const end = await walkSegment(
        file,
        walk,
        0,
        {
          onRecord: (record) => {
            replay.take(record);
          },
        },
        signal,
      );
      usedBytes += end.offset;
      if (end.kind === "bad") throw formatError(`${path} at byte ${end.offset}: ${end.reason}`);
      if (walk.recordsInSegment < 2) throw formatError(`${path} at byte ${end.offset}: no metadata record`);
      if (end.kind === "zero" && position < segments.length - 1) {
        throw formatError(`${path} at byte ${end.offset}: a closed segment ends in zeros`);
      }
    } finally {
      await file.close();
    }
  }

  const { member, state } = walk;
  if (member === null || state === null) throw formatError(`${walDirectory}: no metadata or no hard state`);
  checkCommit(walk, state);
  const note = walk.notes.get(snapshot.index);
  if (note === undefined && snapshot.index > 0) warnings.push(`the log has no note of snapshot ${snapshot.index}`);
  if (note !== undefined && note !== snapshot.term) {
    throw formatError(`${walDirectory}: notes term ${note} for snapshot ${snapshot.index}, which has ${snapshot.term}`);
  }
  const applied = replay.finish(options.knownCommit ?? 0, options.includeNewer === true);
  const { store, membership } = replay;
  checkIdentity(store, membership, member, certificate);
  const unknown = checkObjects(store);
  const roots = await required(files, "certificates/swarm-root-ca.crt");
  checkRoots(
    roots,
    decodeMessage("Cluster", store.objects.cluster.get(certificate.clusterId) ?? none).rootCa?.caCert ?? none,
  );
  warnings.push(...unknown, ...store.anomalies);
  if (store.anomalyCount > store.anomalies.length) warnings.push(`${store.anomalyCount} anomalies in all`);

  return {
    proof: {
      nodeId: member.nodeId,
      raftId: member.raftId.toString(),
      snapshotIndex: snapshot.index,
      firstIndex: snapshot.index + 1,
      lastIndex: walk.lastIndex,
      commitIndex: state.commit,
      term: state.term,
      markerIndex: null,
      segments: segments.length,
      entries: walk.entryRecords,
      attempts: 1,
      usedBytes,
      locked: isLocked(keyFile),
      keyChangedDuringCopy: false,
      walked: true,
      decrypted: true,
      counts: store.counts(),
      certificateExpiresAt: certificate.notAfter,
    },
    ...applied,
    lastTerm: walk.lastTerm,
    member,
    membership,
    store,
    clusterId: certificate.clusterId,
    keyFile,
    keys,
    sealedWith: certificate.clusterId.startsWith("FIPS.") ? algorithm.fernet : algorithm.secretbox,
    certificate,
    warnings,
  };
}

function loadSnapshot(found: FoundSnapshot | null, opener: RecordOpener): LoadedSnapshot {
  if (found === null) return { index: 0, term: 0, membership: new Membership(), store: new ObjectStore() };
  const { index, term, data } = found.file;
  return { index, term, ...decodeSnapshot(opener.open(data, () => `${snapshotDirectory}/${found.name}`)) };
}

async function readCertificate(
  files: SwarmFiles,
  keyFile: KeyFile,
  unlockKey: Uint8Array | null,
  warnings: string[],
): Promise<NodeCertificate> {
  const pem = await required(files, "certificates/swarm-node.crt");
  const certificate = decodeNodeCertificate(pem);
  const roots = await required(files, "certificates/swarm-root-ca.crt");
  const key = openPrivateKey(keyFile, isLocked(keyFile) ? unlockKey : null);
  checkCertificate(pem, roots, key);
  const isPlain = keyFile.blockType === "PRIVATE KEY";
  const written = isPlain ? keyFile.der : key.export({ type: "pkcs8", format: "der" });
  if (Buffer.compare(encodePrivateKey(key), written) !== 0) {
    warnings.push("certificates/swarm-node.key is not written as engines write it: it may be damaged");
  }
  if (Date.parse(certificate.notAfter) < Date.now()) {
    warnings.push(
      `the node's certificate ended on ${certificate.notAfter}: an engine takes it only for a forced new cluster`,
    );
  }
  return certificate;
}

function checkIdentity(
  store: ObjectStore,
  membership: Membership,
  member: RaftMember,
  certificate: NodeCertificate,
): void {
  const clusters = [...store.objects.cluster.keys()];
  if (clusters.length !== 1) throw formatError(`${clusters.length} cluster objects, not one`);
  if (clusters[0] !== certificate.clusterId) {
    throw formatError(
      `certificates/swarm-node.crt is of cluster ${certificate.clusterId}, the state of ${clusters[0] ?? ""}`,
    );
  }
  if (certificate.nodeId !== member.nodeId) {
    throw formatError(`certificates/swarm-node.crt is of node ${certificate.nodeId}, the log of ${member.nodeId}`);
  }
  if (!store.objects.node.has(member.nodeId)) throw formatError(`no node object of ${member.nodeId}`);
  if (!membership.members.has(member.raftId))
    throw formatError(`Raft member ${member.raftId} is not in the membership`);
}

/** Decodes every object once. Throws SKEP_RAFT_FORMAT; gives a warning for each kind with fields unknown to us. */
function checkObjects(store: ObjectStore): string[] {
  const unknown = new Set<string>();
  for (const kind of objectKinds) {
    for (const [id, bytes] of store.objects[kind]) {
      try {
        const { message } = kindNumbers[kind];
        for (const path of unknownFields(decodeMessage(message, bytes)))
          unknown.add(`${message}.${path.replace(/\.\d+\./g, ".")}`);
      } catch (error) {
        if (error instanceof SkepError) throw formatError(`${kind} ${id}: ${error.message}`, error);
        throw error;
      }
    }
  }
  for (const field of store.unknownKinds) unknown.add(field);
  return [...unknown].sort().map((field) => `${field} is a field of a newer engine: kept, not shown`);
}

async function required(files: SwarmFiles, path: string): Promise<Uint8Array> {
  const bytes = await readWhole(files, path, longestKeyFileBytes);
  if (bytes === null) throw formatError(`${path}: missing`);
  return bytes;
}

function notAManager(): SkepError {
  return new SkepError({
    code: "SKEP_RAFT_NOT_A_MANAGER",
    message: `the swarm directory has no ${walDirectory}: it is not a manager's`,
    permanent: true,
  });
}
