// What a recovery is made from: one run with proven Raft state, and for each volume the run that has it. Read with the
// operator's identity.
import { SkepError } from "../../shared/errors.ts";
import { openRaftArchive, type OpenedArchive } from "../../shared/raft/archive-layout.ts";
import { openSwarm, type OpenedSwarm } from "../../shared/raft/open-swarm.ts";
import { undoHolds } from "../../shared/raft/undo-holds.ts";
import { readArchive } from "../../shared/repository/open/archive-reader.ts";
import type { Operator } from "../../shared/repository/open/operator.ts";
import { readRuns } from "../../shared/repository/run-chain.ts";
import type { Part, Run, StoredObject, VolumeFacts } from "../../shared/repository/run.ts";
import type { Store } from "../../shared/store/store.ts";
import { readStoredSetups } from "./engine-setup/setup-sources.ts";
import type { StoredSetup } from "./engine-setup/stored-setup.ts";
import { imageSources, type ImageSource } from "./images/image-sources.ts";

/** A volume as one run took it. */
export interface VolumeSource {
  /** HOSTNAME/NAME, as the run calls it. */
  id: string;
  run: Pick<Run, "id" | "startedAt">;
  part: Part & { volume: VolumeFacts; manifest: StoredObject; refs: StoredObject };
  sizeBytes: number;
  /** Bytes in the run before, where it was much larger then; else null. */
  shrankFromBytes: number | null;
}

export interface RecoverySource {
  run: Run;
  /** Runs that are newer than the chosen one and have no proven Raft state. */
  passedOver: { id: string; status: Run["status"] }[];
  volumes: VolumeSource[];
  images: ImageSource[];
  /** How the engines of its nodes were set up, by node id. */
  setups: ReadonlyMap<string, StoredSetup>;
  archive: OpenedArchive;
  swarm: OpenedSwarm;
}

/** Older runs are looked through for what the chosen one lacks. */
const runsLookedAt = 200;
/** A volume that lost more than half, and more than this, is pointed out. */
const shrinkBytes = 1024 * 1024;

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
  undoHolds(swarm.state.store);
  return {
    run: chosen,
    passedOver,
    volumes: volumeSources(chosen, older),
    images: imageSources(chosen, older),
    setups: await readStoredSetups(store, operator, chosen, options),
    archive,
    swarm,
  };
}

/** A state of its own each time: rebasing uses one up. */
export function openArchivedSwarm(archive: OpenedArchive, signal: AbortSignal): Promise<OpenedSwarm> {
  return openSwarm(archive.files, { unlockKey: archive.unlockKey, signal });
}

function provenRaft(run: Run): { archive: StoredObject[]; epoch: number } | null {
  const part = run.parts.find(({ kind, raft }) => kind === "raft" && raft?.walked === true);
  return part?.archive === undefined || part.epoch === undefined ? null : { archive: part.archive, epoch: part.epoch };
}

/** `older`: newest first. */
export function volumeSources(run: Run, older: readonly Run[]): VolumeSource[] {
  const found = new Map<string, VolumeSource>();
  for (const part of run.parts) {
    const source = sourceOf(run, part, older);
    if (source !== null) found.set(keyOf(part), source);
  }
  // What the run wanted and did not get; not what was removed before it.
  const silentNodes = new Set(
    run.notCovered.flatMap(({ reason, hostname }) =>
      (reason === "node-down" || reason === "no-agent") && hostname !== undefined ? [hostname] : [],
    ),
  );
  const failed = new Set(run.parts.filter(({ kind, manifest }) => kind === "volume" && !manifest).map(keyOf));
  for (const [index, earlier] of older.entries()) {
    for (const part of earlier.parts) {
      const key = keyOf(part);
      if (part.kind !== "volume" || found.has(key)) continue;
      if (!failed.has(key) && !silentNodes.has(part.hostname)) continue;
      const source = sourceOf(earlier, part, older.slice(index + 1));
      if (source !== null) found.set(key, source);
    }
  }
  return [...found.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function keyOf({ nodeId, name }: Part): string {
  return `${nodeId} ${name}`;
}

function sourceOf(run: Run, part: Part, older: readonly Run[]): VolumeSource | null {
  const { volume, manifest, refs } = part;
  if (part.kind !== "volume" || volume === undefined || manifest === undefined || refs === undefined) return null;
  // What Skep keeps for itself is made anew: the agent's cache and key, the queue.
  if (volume.labels["io.skep.own"] === "true") return null;
  const sizeBytes = part.totals?.sourceBytes ?? 0;
  const before = older
    .flatMap(({ parts }) => parts.filter((other) => keyOf(other) === keyOf(part)))
    .map(({ totals }) => totals?.sourceBytes)
    .find((bytes) => bytes !== undefined);
  const shrank = before !== undefined && before - sizeBytes > shrinkBytes && sizeBytes < before / 2;
  return {
    id: part.name,
    run: { id: run.id, startedAt: run.startedAt },
    part: { ...part, volume, manifest, refs },
    sizeBytes,
    shrankFromBytes: shrank ? before : null,
  };
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
