// Takes one volume. Where its bytes are seen on the host it walks them; where they are seen only by a container that
// mounts the volume, such a container does this same job.
import { lstat } from "node:fs/promises";
import type { Job, TaskOf } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { SkepError } from "../shared/errors.ts";
import type { Part, Warning } from "../shared/repository/run.ts";
import { writeSnapshot } from "../shared/repository/snapshot-writer.ts";
import type { AgentContext, Attempt, QuietTools } from "./context.ts";
import type { Volume } from "./docker-objects.ts";
import { runInHelper } from "./helper-container.ts";
import { resolveHostPath } from "./host-path.ts";
import type { Moment, MomentRequest } from "./moment/moments.ts";
import { openNodeCache } from "./node-cache.ts";
import { cutWarnings, partOf } from "./part.ts";
import { QuietWatch } from "./quiesce/quiet-watch.ts";
import { walkVolume } from "./source/volume.ts";
import { volumeKind } from "../shared/volume-kind.ts";
import { volumeFacts } from "./source/volume-kind.ts";

/**
 * Throws SKEP_SOURCE_VOLUME_GONE, SKEP_SOURCE_UNSUPPORTED, SKEP_VOLUME_NEEDS_IMAGE, and what walk, store and cache throw.
 * Where the volume should be quiet and was not throughout, the part is `partial`.
 */
export async function backupVolume(
  job: Job,
  task: TaskOf<"volume">,
  context: AgentContext,
  tools: QuietTools,
  attempt: Attempt,
): Promise<TaskResultOf<"volume">> {
  const { quiet, volume } = task;
  // In a helper container: the one that started it watches.
  if (context.mountedAt !== null) return withMoment(job, task, context, attempt, () => Promise.resolve(null));
  const find: FindMoment = async (place) => {
    const { excludePaths } = task;
    const request = { ...place, excludePaths, isQuiet: quiet !== null };
    const prepared = await tools.moments.prepare(request, attempt.signal);
    let taken: Moment | null = null;
    try {
      taken = (await prepared?.take(attempt.signal)) ?? null;
    } finally {
      if (taken === null) await prepared?.drop();
    }
    return taken;
  };
  if (quiet === null) return withMoment(job, task, context, attempt, find);
  const kept = tools.moments.claim(quiet.id, volume);
  if (kept !== null) {
    const { part } = await withMoment(job, task, context, attempt, () => Promise.resolve(kept), kept);
    return { kind: "volume", part: { ...part, consistency: "quiet" } };
  }
  const watch = await QuietWatch.begin(context.docker, tools.journal, volume, quiet);
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
    const { part } = await withMoment(job, task, context, { ...attempt, onProgress }, find);
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
  return { ...part, status: "partial", consistency: "not-atomic", error };
}

/** Null: the volume itself is to be read. */
type FindMoment = (place: Pick<MomentRequest, "root" | "dataRoot">) => Promise<Moment | null>;

/** Takes the volume from the moment that `find` gives, and lets that one go however it ends: one that is there already, also where it is not asked for. */
async function withMoment(
  job: Job,
  task: TaskOf<"volume">,
  context: AgentContext,
  attempt: Attempt,
  find: FindMoment,
  kept: Moment | null = null,
): Promise<TaskResultOf<"volume">> {
  const found: { moment: Moment | null } = { moment: kept };
  const result = await takeVolume(
    job,
    task,
    context,
    attempt,
    async (place) => (found.moment = await find(place)),
  ).then(
    ({ part }) => part,
    async (error: unknown) => {
      await found.moment?.remove();
      throw error;
    },
  );
  const warning = (await found.moment?.remove()) ?? null;
  const warnings = warning === null ? {} : cutWarnings([warning, ...result.warnings], result.warningsLeftOut);
  return { kind: "volume", part: { ...result, ...warnings } };
}

async function takeVolume(
  job: Job,
  task: TaskOf<"volume">,
  context: AgentContext,
  attempt: Attempt,
  find: FindMoment,
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
  const { dev } = await lstat(root, { bigint: true }).catch((error: unknown) => {
    throw gone(volume, error);
  });
  const dataRoot = await resolveHostPath(context.hostRoot, info.DockerRootDir);
  const moment = await find({ root, dataRoot });
  const onProgress: Attempt["onProgress"] = (progress) => {
    // All of it is there already, and stays as it is: for whoever waits for the end of the reading it has come.
    const isRead = moment !== null && progress.phase === "reading";
    attempt.onProgress(isRead ? { ...progress, phase: "storing" } : progress);
  };
  if (moment !== null) onProgress({ phase: "reading", doneBytes: 0, totalBytes: null, doneFiles: 0 });
  const read = moment === null ? root : moment.root;
  const walk = moment?.walk(attempt.signal) ?? walkVolume(root, task.excludePaths, attempt.signal);
  const before = read === null ? null : await inodeOf(read);
  const cache = openNodeCache(context);
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
    onProgress,
    maxBytesPerSecond: task.maxBytesPerSecond,
    ...(task.absentPacks === undefined ? {} : { absentPacks: task.absentPacks }),
    now: () => Date.now(),
  }).finally(() => {
    cache.close();
  });
  // The walk runs ahead of the reading: a volume that went in between gave names, and no longer all files.
  if (read !== null && (await inodeOf(read)) !== before) throw removed(root);
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
      // File after file, a copy is of one moment only while nothing is written: whoever made it quiet says so.
      consistency: moment?.how === "btrfs" ? "atomic" : "not-atomic",
      ...(moment === null ? {} : { moment: moment.how }),
    },
  };
}

/** Device and number of a folder. */
async function inodeOf(folder: string): Promise<string> {
  const { dev, ino } = await lstat(folder, { bigint: true }).catch((error: unknown) => {
    throw removed(folder, error);
  });
  return `${dev} ${ino}`;
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
