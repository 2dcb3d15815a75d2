// Takes a copy of a swarm directory from under a running engine, and proves it.
//
// 1. Read the key file. 2. Take the newest snapshot file that passes its CRC. 3. Only then list the WAL segments; from
// the one that reaches back to the snapshot, take exactly the bytes up to the last good record. 4. Read certificates,
// then the key again. 5. Check what was taken; if anything does not hold, drop it, pause and begin again.
//
// The order matters: the engine writes a snapshot before it removes the segments that the snapshot makes needless, so
// snapshot first, log second is never short of entries, while the other order is. Within one write to the WAL entries
// come before the hard state that speaks of them, so every prefix at a record boundary is a state that a crash at that
// moment would have left, and engines load it. A record may be half there while it is written; a second look finds it
// whole. One that stays bad at the same place is not a race but damage, and no copy is called proven over it.
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { SkepError } from "../errors.ts";
import { decodeNodeCertificate } from "./certificates.ts";
import { copiedFiles, heldFile, stageFile, type CopiedFile } from "./copied-file.ts";
import { forcedStart, type ForcedStart } from "./forced-start.ts";
import { decodeKeyFile, isLocked, longestKeyFileBytes, type KeyFile } from "./key-file.ts";
import type { RaftProof } from "./proof.ts";
import { damagedWarning, describeDamaged, newestSnapshot, stillDamaged } from "./newest-snapshot.ts";
import { readSwarm } from "./read-swarm.ts";
import { neededSegments, snapshotDirectory, walDirectory } from "./segments.ts";
import { readWhole, type SwarmFiles } from "./swarm-files.ts";
import { longestSnapshotBytes, longestWalBytes, stateTooLarge } from "./size-limits.ts";
import { walkSegment, type SegmentEnd } from "./wal-reader.ts";
import { checkCommit, WalWalk } from "./wal-walk.ts";
import { formatError } from "./wire.ts";

export interface CopyOptions {
  source: SwarmFiles;
  /**
   * An existing directory of mode 0700 for WAL and snapshot, which are encrypted by the key file that is never written
   * here. The caller removes it when the copy has been stored.
   */
  stagingDirectory: string;
  signal: AbortSignal;
  /**
   * Gives the unlock key of an autolocked swarm; asked again for each copy, since it may be rotated meanwhile. Without
   * it a locked copy is walked, and its content stays unproven.
   */
  unlockKey?: () => Promise<Uint8Array>;
  /** The version that the write before the copy got: the copy must have committed up to it. */
  markerIndex?: number;
  limits?: Partial<CopyLimits>;
}

export interface CopyLimits {
  /** Copies tried before the directory counts as unprovable. */
  attempts: number;
  /** Pause before the second copy; doubles up to a second. */
  pauseMs: number;
  /** How long to wait for the marker to arrive on a manager that follows; such waiting is not counted in `attempts`. */
  markerTimeoutMs: number;
  longestSnapshotBytes: number;
  /** All WAL bytes of one copy. */
  longestWalBytes: number;
}

export const defaultCopyLimits: CopyLimits = {
  attempts: 10,
  pauseMs: 50,
  markerTimeoutMs: 30_000,
  longestSnapshotBytes,
  longestWalBytes,
};

export interface SwarmCopy {
  /** certificates/*, raft/*, and state.json and docker-state.json, which inform but are not restored. */
  files: CopiedFile[];
  proof: RaftProof;
  /** The unlock key that opens this copy; null where it is not locked, or was not given. */
  unlockKey: Uint8Array | null;
  /** How it starts by hand; null where its content is unproven, or names no address. */
  forcedStart: ForcedStart | null;
  /** What is no reason to refuse, but to look. For people. */
  warnings: string[];
}

/**
 * Throws SKEP_RAFT_COPY_UNPROVEN (file and byte offset in the message) when no copy could be proven,
 * SKEP_RAFT_NOT_A_MANAGER where there is no Raft state, SKEP_RAFT_TOO_LARGE where there is too much, SKEP_RAFT_UNREADABLE where files cannot be read, and the
 * signal's reason when aborted. On a throw nothing is left in the staging directory.
 */
export async function copySwarmDirectory(options: CopyOptions): Promise<SwarmCopy> {
  const limits = { ...defaultCopyLimits, ...options.limits };
  const markerDeadline = Date.now() + limits.markerTimeoutMs;
  let torn = 0;
  for (let attempt = 1; ; attempt++) {
    options.signal.throwIfAborted();
    const staging = await mkdtemp(join(options.stagingDirectory, "copy-"));
    let failure: SkepError;
    try {
      const copy = await copyOnce(options, limits, staging);
      const { commitIndex } = copy.proof;
      if (options.markerIndex === undefined || commitIndex >= options.markerIndex) {
        return { ...copy, proof: { ...copy.proof, attempts: attempt } };
      }
      failure = formatError(`commit index ${commitIndex} on disk is below the marker ${options.markerIndex}`);
      if (Date.now() >= markerDeadline) torn = limits.attempts;
    } catch (error) {
      if (!(error instanceof SkepError) || !tryAgain.has(error.code)) {
        await rm(staging, { recursive: true, force: true });
        throw error;
      }
      failure = error;
      torn++;
    }
    await rm(staging, { recursive: true, force: true });
    if (torn >= limits.attempts) throw unproven(failure, attempt);
    await sleep(Math.min(1000, limits.pauseMs * 2 ** Math.min(attempt - 1, 10)), undefined, { signal: options.signal });
  }
}

/** What a race with the engine can look like; a key rotated while copying does not fit the copy. */
const tryAgain = new Set<string>(["SKEP_RAFT_FORMAT", "SKEP_RAFT_UNLOCK_KEY"]);

function unproven(failure: SkepError, attempts: number): SkepError {
  return new SkepError({
    code: "SKEP_RAFT_COPY_UNPROVEN",
    message: `no copy of the swarm directory could be proven in ${attempts} attempts; the last one: ${failure.message}`,
    permanent: false,
    hint: "back up another manager, and look at this one's disk and engine log",
    cause: failure,
  });
}

async function copyOnce(options: CopyOptions, limits: CopyLimits, staging: string): Promise<SwarmCopy> {
  const { source, signal } = options;
  const keyBefore = await required(source, "certificates/swarm-node.key");
  const files: CopiedFile[] = [];

  const { newest: snapshot, damaged } = await newestSnapshot(source, limits.longestSnapshotBytes);
  if (snapshot !== null) {
    const staged = await stageFile(staging, `${snapshotDirectory}/${snapshot.name}`);
    await staged.write(snapshot.bytes);
    files.push(await staged.finish());
  }

  const walk = new WalWalk(snapshot?.file.index ?? 0);
  walk.lastTerm = snapshot?.file.term ?? 0;
  const names = await source.list(walDirectory);
  if (names === null || !names.some((name) => name.endsWith(".wal"))) throw notAManager();
  const segments = neededSegments(names, walk.snapshotIndex, describeDamaged(damaged));
  let walBytes = 0;
  for (const [position, segment] of segments.entries()) {
    const onSize = (sizeBytes: number): void => {
      if (walBytes + sizeBytes > limits.longestWalBytes) throw stateTooLarge(walDirectory, limits.longestWalBytes);
    };
    const copied = await copySegment(
      { source, walk, path: `${walDirectory}/${segment.name}`, newest: position === segments.length - 1, staging },
      onSize,
      signal,
    );
    walBytes += copied.sizeBytes;
    files.push(copied);
  }

  const certificate = await required(source, "certificates/swarm-node.crt");
  const rootCa = await required(source, "certificates/swarm-root-ca.crt");
  const key = await required(source, "certificates/swarm-node.key");
  files.unshift(
    heldFile("certificates/swarm-root-ca.crt", 0o644, rootCa),
    heldFile("certificates/swarm-node.crt", 0o644, certificate),
    heldFile("certificates/swarm-node.key", 0o600, key),
  );
  let engineState: Uint8Array | null = null;
  for (const path of ["state.json", "docker-state.json"]) {
    const bytes = await readWhole(source, path, longestStateFileBytes);
    if (path === "docker-state.json") engineState = bytes;
    if (bytes !== null) files.push(heldFile(path, 0o600, bytes));
  }

  const keyFile = decodeKeyFile(key);
  const walked = proveWalk(walk, certificate, keyFile);
  const unlockKey = walked.locked && options.unlockKey !== undefined ? await options.unlockKey() : null;
  // Read back from the copy itself, with the keys of the copy.
  const read = walked.locked && unlockKey === null ? null : await readSwarm(copiedFiles(files), { unlockKey, signal });
  // Not one that the engine was writing then.
  const rotten = await stillDamaged(source, damaged, limits.longestSnapshotBytes);
  return {
    files,
    unlockKey,
    forcedStart: read === null ? null : forcedStart(read, unlockKey, engineState),
    warnings: [...rotten.map(damagedWarning), ...(read?.warnings ?? [])],
    proof: {
      ...walked,
      ...read?.proof,
      segments: segments.length,
      keyChangedDuringCopy: Buffer.compare(keyBefore, key) !== 0,
      attempts: 1,
      usedBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0),
      markerIndex: options.markerIndex ?? null,
    },
  };
}

const longestStateFileBytes = 1024 * 1024;

type WalkProof = Omit<RaftProof, "segments" | "keyChangedDuringCopy" | "attempts" | "usedBytes" | "markerIndex">;

function proveWalk(walk: WalWalk, certificatePem: Uint8Array, keyFile: KeyFile): WalkProof {
  const { member, state, snapshotIndex, lastIndex } = walk;
  if (member === null) throw formatError(`${walDirectory}: no metadata record`);
  if (state === null) throw formatError(`${walDirectory}: no hard state`);
  checkCommit(walk, state);
  const certificate = decodeNodeCertificate(certificatePem);
  if (certificate.nodeId !== member.nodeId) {
    throw formatError(`certificates/swarm-node.crt is of node ${certificate.nodeId}, the log of ${member.nodeId}`);
  }
  const locked = isLocked(keyFile);
  if (!keyFile.headers.has("raft-dek")) throw formatError("certificates/swarm-node.key has no raft-dek header");
  return {
    nodeId: member.nodeId,
    raftId: member.raftId.toString(),
    snapshotIndex,
    firstIndex: snapshotIndex + 1,
    lastIndex,
    commitIndex: state.commit,
    term: state.term,
    entries: walk.entryRecords,
    walked: true,
    decrypted: false,
    locked,
    certificateExpiresAt: certificate.notAfter,
  };
}

interface SegmentJob {
  source: SwarmFiles;
  walk: WalWalk;
  path: string;
  newest: boolean;
  staging: string;
}

/** Looks taken at a record that is half there, before the attempt is given up. */
const segmentLooks = 5;

async function copySegment(
  job: SegmentJob,
  onSize: (sizeBytes: number) => void,
  signal: AbortSignal,
): Promise<CopiedFile> {
  const file = await job.source.open(job.path);
  if (file === null) throw formatError(`${job.path}: removed while copying`);
  const staged = await stageFile(job.staging, job.path);
  try {
    let sizeBytes = 0;
    const onBytes = async (bytes: Uint8Array): Promise<void> => {
      sizeBytes += bytes.length;
      onSize(sizeBytes);
      await staged.write(bytes);
    };
    job.walk.beginSegment();
    let end: SegmentEnd = { kind: "bad", offset: 0, reason: "" };
    let badAt = -1;
    for (let look = 1; look <= segmentLooks; look++) {
      end = await walkSegment(file, job.walk, end.offset, { onBytes }, signal);
      // A log that grew meanwhile and is torn further on may be cut before the tear.
      if (end.kind !== "bad" || (job.newest && badAt >= 0 && end.offset > badAt)) break;
      badAt = end.offset;
      if (look < segmentLooks) await sleep(look * 2, undefined, { signal });
    }
    if (end.kind === "bad" && end.offset === badAt) {
      throw formatError(`${job.path} at byte ${end.offset}: ${end.reason}`);
    }
    if (job.walk.recordsInSegment < 2) throw formatError(`${job.path} at byte ${end.offset}: no metadata record`);
  } catch (error) {
    await staged.abandon();
    throw error;
  } finally {
    await file.close();
  }
  return staged.finish();
}

async function required(source: SwarmFiles, path: string): Promise<Uint8Array> {
  const bytes = await readWhole(source, path, longestKeyFileBytes);
  if (bytes === null) throw formatError(`${path}: missing`);
  return bytes;
}

function notAManager(): SkepError {
  return new SkepError({
    code: "SKEP_RAFT_NOT_A_MANAGER",
    message: `the swarm directory has no ${walDirectory}: this node is not a manager`,
    permanent: true,
    hint: "take the Raft copy on a manager",
  });
}
