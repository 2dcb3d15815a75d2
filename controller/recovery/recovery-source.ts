// What a recovery is made from: one run with proven Raft state, and for each volume the run that has it (volume-sources.ts). Read
// with the operator's identity.
import { SkepError } from "../../shared/errors.ts";
import { openRaftArchive, type OpenedArchive } from "../../shared/raft/archive-layout.ts";
import { openSwarm, type OpenedSwarm } from "../../shared/raft/open-swarm.ts";
import { undoHolds, type UndoneHold } from "../../shared/raft/undo-holds.ts";
import { readArchive } from "../../shared/repository/open/archive-reader.ts";
import type { Operator } from "../../shared/repository/open/operator.ts";
import { readRuns } from "../../shared/repository/run-chain.ts";
import type { Run, StoredObject } from "../../shared/repository/run.ts";
import type { Store } from "../../shared/store/store.ts";
import { readStoredSetups } from "./engine-setup/setup-sources.ts";
import type { StoredSetup } from "./engine-setup/stored-setup.ts";
import { imageSources, type ImageSource } from "./images/image-sources.ts";
import { missingVolumes, volumeSources, type MissingVolume, type VolumeSource } from "./volume-sources.ts";

export interface RecoverySource {
  run: Run;
  /** Runs that are newer than the chosen one and have no proven Raft state. */
  passedOver: { id: string; status: Run["status"] }[];
  volumes: VolumeSource[];
  /** What no run has whole. */
  nowhere: MissingVolume[];
  images: ImageSource[];
  /** How the engines of its nodes were set up, by node id. */
  setups: ReadonlyMap<string, StoredSetup>;
  archive: OpenedArchive;
  swarm: OpenedSwarm;
  /** Services that Skep held when the run's copy was taken; in `swarm` they are as they were before. None of a survivor's. */
  undone: UndoneHold[];
}

/** Older runs are looked through for what the chosen one lacks. */
const runsLookedAt = 200;

/** `runId`: of one run, or "latest". Throws SKEP_RUN_UNKNOWN, SKEP_RECOVERY_NO_RAFT, and what reading throws. */
export async function openRecoverySource(
  store: Store,
  operator: Operator,
  runId: string,
  options: { signal: AbortSignal; onFault: (fault: SkepError, key: string) => void },
): Promise<RecoverySource> {
  const passedOver: RecoverySource["passedOver"] = [];
  let chosen: Run | null = null;
  const older: Run[] = [];
  for await (const { run } of readRuns(operator.catalogue, options)) {
    if (chosen !== null) {
      older.push(run);
      if (older.length >= runsLookedAt) break;
    } else if (runId === run.id || (runId === "latest" && provenRaft(run) !== null)) chosen = run;
    else if (runId === "latest") passedOver.push({ id: run.id, status: run.status });
  }
  if (chosen === null) throw noRun(store, runId, passedOver.length);
  const raft = provenRaft(chosen);
  if (raft === null) throw noRaft(chosen.id);
  const identity = await operator.epochIdentity(raft.epoch);
  const entries = readArchive({ store, archive: raft.archive, identity, signal: options.signal });
  const archive = await openRaftArchive(entries);
  const swarm = await openArchivedSwarm(archive, options.signal);
  // What Skep had stopped when the copy was made is as it was before; rebasing does the same.
  const undone = undoHolds(swarm.state.store, Date.now());
  const volumes = volumeSources(chosen, older);
  return {
    ...{ run: chosen, passedOver, volumes },
    nowhere: missingVolumes(chosen, volumes),
    images: imageSources(chosen, older),
    setups: await readStoredSetups(store, operator, chosen, options),
    archive,
    swarm,
    undone,
  };
}

/** A state of its own each time: rebasing uses one up. */
export function openArchivedSwarm(archive: OpenedArchive, signal: AbortSignal): Promise<OpenedSwarm> {
  return openSwarm(archive.files, { unlockKey: archive.unlockKey, signal });
}

/** Read to its last entry, as it was taken: one of a locked swarm without its key is none. */
function provenRaft(run: Run): { archive: StoredObject[]; epoch: number } | null {
  const part = run.parts.find(({ kind, raft }) => kind === "raft" && raft?.decrypted === true);
  return part?.archive === undefined || part.epoch === undefined ? null : { archive: part.archive, epoch: part.epoch };
}

function noRun(store: Store, runId: string, seen: number): SkepError {
  if (runId === "latest" && seen > 0) return noRaft("any run");
  return new SkepError({
    code: "SKEP_RUN_UNKNOWN",
    message:
      runId === "latest" ? `there is no run at ${store.address}` : `there is no run ${runId} at ${store.address}`,
    permanent: true,
    hint: "`skep runs` lists what there is",
  });
}

function noRaft(what: string): SkepError {
  return new SkepError({
    code: "SKEP_RECOVERY_NO_RAFT",
    message: `${what} holds no proven Raft state, so no swarm can be rebuilt from it`,
    permanent: true,
    hint: "name another run with --run; single volumes come back with `skep restore volume`",
  });
}
