// Takes one volume. Where its bytes are seen on the host it walks them; where they are seen only by a container that
// mounts the volume, such a container does this same job.
import { lstat } from "node:fs/promises";
import path from "node:path";
import type { Job, TaskOf, TaskResultOf } from "../shared/contract/job.ts";
import { SkepError } from "../shared/errors.ts";
import { ChunkCache } from "../shared/repository/chunk-cache.ts";
import type { Part, Warning } from "../shared/repository/run.ts";
import { writeSnapshot } from "../shared/repository/snapshot-writer.ts";
import type { AgentContext, Attempt } from "./context.ts";
import type { Volume } from "./docker-objects.ts";
import { runInHelper } from "./helper-container.ts";
import { resolveHostPath } from "./host-path.ts";
import type { Journal } from "./journal.ts";
import { cutWarnings, partOf } from "./part.ts";
import { QuietWatch } from "./quiesce/quiet-watch.ts";
import { walkVolume } from "./source/volume.ts";
import { volumeFacts, volumeKind } from "./source/volume-kind.ts";

/**
 * Throws SKEP_SOURCE_VOLUME_GONE, SKEP_SOURCE_UNSUPPORTED, SKEP_VOLUME_NEEDS_IMAGE, and what walk, store and cache throw.
 * Where the volume should be quiet and was not throughout, the part is `partial`.
 */
export async function backupVolume(
  job: Job,
  task: TaskOf<"volume">,
  context: AgentContext,
  journal: Journal,
  attempt: Attempt,
): Promise<TaskResultOf<"volume">> {
  const { quiet, volume } = task;
  // In a helper container: the one that started it watches.
  if (quiet === null || context.mountedAt !== null) return takeVolume(job, task, context, attempt);
  const watch = await QuietWatch.begin(context.docker, journal, volume, quiet);
  try {
    const proof: { made: Promise<string | null> | null } = { made: null };
    const onProgress: Attempt["onProgress"] = (progress) => {
      if (!readPhases.has(progress.phase)) {
        attempt.onProgress(progress);
        return;
      }
      // What is told ends the quiet: so it is proven before.
      proof.made ??= watch.prove(attempt.signal);
      const tell = (): void => {
        attempt.onProgress(progress);
      };
      proof.made.then(tell, tell);
    };
    const { part } = await takeVolume(job, task, context, { ...attempt, onProgress });
    const broken = await (proof.made ?? watch.prove(attempt.signal));
    return {
      kind: "volume",
      part: broken === null ? { ...part, consistency: "quiet" } : unquiet(part, volume, broken),
    };
  } finally {
    watch.close();
  }
}

/** All is read, and some of it is still to be stored. */
const readPhases = new Set(["storing", "done"]);

function unquiet(part: Part, volume: string, why: string): Part {
  if (part.status !== "done") return part;
  const error: NonNullable<Part["error"]> = {
    code: "SKEP_QUIET_BROKEN",
    message: `volume ${volume} was not quiet while it was read: ${why}`,
    permanent: false,
    hint: "it was taken as it was, which may mix states; see what runs on it, and whether limits.quietMinutes is enough",
  };
  return { ...part, status: "partial", error };
}

async function takeVolume(
  job: Job,
  task: TaskOf<"volume">,
  context: AgentContext,
  attempt: Attempt,
): Promise<TaskResultOf<"volume">> {
  const startedAt = new Date();
  const { docker, store, writerKeys, writerId, epoch, repositoryId } = context;
  const volume = await docker.volume(task.volume, attempt.signal);
  if (volume === null) {
    throw gone({ Name: task.volume });
  }
  const kind = volumeKind(volume);
  if (kind.kind === "tmpfs") {
    throw new SkepError({
      code: "SKEP_SOURCE_UNSUPPORTED",
      message: `volume ${task.volume} lies in memory`,
      permanent: true,
      hint: "leave it out in the policy",
    });
  }
  let root = context.mountedAt;
  if (root === null && (kind.kind === "mounted" || kind.kind === "plugin")) {
    const result = await runInHelper({ job, volume: task.volume, readOnly: true }, context, attempt);
    if (result.kind !== "volume") throw new TypeError(`a helper answered a volume task with ${result.kind}`);
    return result;
  }
  root ??= await resolveHostPath(context.hostRoot, kind.kind === "bind" ? kind.hostPath : volume.Mountpoint);
  const info = await docker.info(attempt.signal);
  const walk = walkVolume(root, task.excludePaths, attempt.signal);
  const { dev, ino } = await lstat(root, { bigint: true }).catch((error: unknown) => {
    throw gone(volume, error);
  });
  const cacheFile = path.join(context.stateDir, "chunks.sqlite");
  const cache = ChunkCache.open(cacheFile, { repositoryId, writerId, incarnation: context.incarnation });
  const snapshot = await writeSnapshot({
    store,
    repositoryId,
    writerId,
    keys: writerKeys,
    epoch,
    runId: task.runId,
    volume: task.volume,
    volumeIdentity: `${volume.CreatedAt ?? ""} ${dev}`,
    entries: walk.entries,
    cache,
    signal: attempt.signal,
    onProgress: attempt.onProgress,
    maxBytesPerSecond: task.maxBytesPerSecond,
    ...(task.absentPacks === undefined ? {} : { absentPacks: task.absentPacks }),
    now: () => Date.now(),
  }).finally(() => {
    cache.close();
  });
  // The walk runs ahead of the reading: a volume that went in between gave names, and no longer all files.
  const after = await lstat(root, { bigint: true }).catch((error: unknown) => {
    throw removed(root, error);
  });
  if (after.dev !== dev || after.ino !== ino) throw removed(root);
  const { findings } = walk;
  const complete = findings.complete && snapshot.complete;
  const warnings = [...findings.warnings, ...snapshot.warnings];
  const subject = { kind: "volume", name: `${info.Name}/${task.volume}`, hostname: info.Name } as const;
  return {
    kind: "volume",
    part: {
      ...partOf(subject, context, attempt, startedAt),
      status: complete ? "done" : "partial",
      ...(complete ? {} : { error: incomplete(task.volume, warnings) }),
      ...cutWarnings(warnings, findings.warningsLeftOut + snapshot.warningsLeftOut),
      totals: snapshot.totals,
      manifest: snapshot.manifest,
      refs: snapshot.refs,
      volume: volumeFacts(volume),
      consistency: "not-atomic",
    },
  };
}

function incomplete(volume: string, warnings: readonly Warning[]): NonNullable<Part["error"]> {
  const unread = warnings.filter(({ code }) => code === "SKEP_SOURCE_FILE_UNREADABLE");
  const first = unread[0] === undefined ? "" : `, e.g. ${unread[0].message}`;
  return {
    code: "SKEP_SOURCE_INCOMPLETE",
    message: `volume ${volume} was not taken whole: ${unread.length} or more entries could not be read${first}`,
    permanent: false,
    hint: "look at the warnings of this part, and at the disk or share that the volume lies on",
  };
}

function removed(root: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_SOURCE_VOLUME_GONE",
    message: `the volume's folder ${root} was removed while it was read`,
    permanent: true,
    hint: "was the volume removed? The next run takes what is there then",
    cause,
  });
}

function gone(volume: Pick<Volume, "Name">, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_SOURCE_VOLUME_GONE",
    message: `volume ${volume.Name} is not on this node`,
    permanent: true,
    hint: "was the volume removed? The next run takes what is there then",
    cause,
  });
}
