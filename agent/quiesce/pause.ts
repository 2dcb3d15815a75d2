// Freezing the containers that use a volume, or stopping those of no service (stop-containers.ts), for as long as it is
// read. Which ones is in the agent's journal before the first of them is told; they go on when they are told to, after
// their deadline, and when the agent starts: what was read under another life of it is not proven anyway. None of this
// needs the controller.
//
// Where the filesystem gives a moment of each volume that is to be taken, they go on as soon as it has.
import { setTimeout as sleep } from "node:timers/promises";
import type { TaskOf, TaskResultOf } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import { helperLabel, type Docker } from "../docker.ts";
import type { AgentContext, QuietTools } from "../context.ts";
import { resolveHostPath } from "../host-path.ts";
import type { Journal } from "../journal.ts";
import { containerName } from "../docker-objects.ts";
import { findOwnContainer } from "../own-container.ts";
import type { Moment, Moments, Prepared } from "../moment/moments.ts";
import { volumeKind } from "../source/volume-kind.ts";
import { freezeAll, refuseOwn } from "./freeze.ts";
import { runHooks } from "./hooks.ts";
import { isStoppedBy, letGo, letGoDue, type LetGo } from "./let-go.ts";
import { readPauses, writePause, type PauseRecord } from "./pause-record.ts";
import { QuietWatch } from "./quiet-watch.ts";
import { findStops, stopAll } from "./stop-containers.ts";
import { stopsEndBy } from "./stopped-container.ts";

/** Throws SKEP_PAUSE_OVER, SKEP_PAUSE_FAILED, SKEP_STOP_REFUSED, SKEP_STOP_TIMEOUT, and what the engine or a hook with on-error=fail throws; then nothing stays paused or stopped. */
export async function pause(
  task: TaskOf<"pause">,
  context: Pick<AgentContext, "docker" | "hostRoot">,
  { journal, moments }: QuietTools,
  signal: AbortSignal,
): Promise<TaskResultOf<"pause">> {
  const { docker } = context;
  const { pauseId, deadlineAt, volumes, stops: toStop = [] } = task;
  if (Date.parse(deadlineAt) <= Date.now()) {
    throw over(pauseId, "it is not taken up, its deadline has passed");
  }
  const isStopped = (id: string): boolean => isStoppedBy(readPauses(journal), id);
  // What can't be stopped or paused is said before anything is done.
  await findStops(toStop, docker, isStopped, signal);
  const own = await findOwnContainer(docker, signal);
  if (own !== null) refuseOwn(await runningUsers(volumes, docker, signal), own.id);
  const commands = await runHooks("hook.pre", task.before, docker, signal);
  const prepared = await prepareInTime(task, context, moments, signal);
  let record: PauseRecord | null = null;
  try {
    const stops = await findStops(toStop, docker, isStopped, signal);
    const users = await runningUsers(volumes, docker, signal);
    const containers = users.filter(({ id }) => !stops.some((each) => each.id === id));
    const begun: PauseRecord = { pauseId, deadlineAt, pausedAt: new Date().toISOString(), containers, stops };
    record = begun;
    writePause(journal, begun);
    const left = AbortSignal.timeout(Math.max(0, Date.parse(deadlineAt) - Date.now()));
    const write = (told: PauseRecord["stops"]): void => {
      const known = { ...begun, stops: told };
      writePause(journal, known);
      // Only then: those of a layer that could not be written are not told.
      record = known;
    };
    const inTime = AbortSignal.any([signal, left]);
    try {
      await stopAll(stops, docker, write, inTime);
      await freezeAll(containers, docker, inTime);
    } catch (error) {
      throw error === left.reason ? over(pauseId, "its deadline passed before all was quiet") : error;
    }
    if (prepared !== null) {
      const isTaken = await takeMoments(task, prepared, docker, { journal, moments }, signal);
      // Given up by who ordered it: what reads meanwhile must see that the quiet is over.
      signal.throwIfAborted();
      if (isTaken) await goOn(record, docker, journal);
      else for (const each of prepared) moments.giveUp(pauseId, each);
    }
    return { kind: "pause", paused: containers.map(nameOf), stopped: stops.map(nameOf), commands };
  } catch (error) {
    try {
      if (record !== null) await letGo(record, docker, journal);
    } finally {
      for (const { volume } of task.moments ?? []) moments.claim(pauseId, volume);
      await dropAll(prepared ?? []);
    }
    throw error;
  }
}

function over(pauseId: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_PAUSE_OVER",
    message: `pause ${pauseId}: ${why}`,
    permanent: true,
    hint: "the next run orders a new one; is limits.quietMinutes enough?",
  });
}

function nameOf({ name }: { name: string }): string {
  return name;
}

async function dropAll(prepared: readonly Prepared[]): Promise<void> {
  await Promise.all(prepared.map((each) => each.drop()));
}

async function runningUsers(
  volumes: readonly string[],
  docker: Docker,
  signal: AbortSignal,
): Promise<PauseRecord["containers"]> {
  const containers = [];
  for (const container of await docker.containers({ status: ["running"] }, signal)) {
    const uses = container.Mounts?.some(({ Type, Name = "" }) => Type === "volume" && volumes.includes(Name)) === true;
    if (!uses || container.Labels?.[helperLabel] !== undefined) continue;
    containers.push({ id: container.Id, name: containerName(container) });
  }
  return containers;
}

/** What is to be written to disk first is waited for until the deadline, and no longer. */
async function prepareInTime(
  task: TaskOf<"pause">,
  context: Pick<AgentContext, "docker" | "hostRoot">,
  moments: Moments,
  signal: AbortSignal,
): Promise<Prepared[] | null> {
  const deadline = AbortSignal.timeout(Math.max(0, Date.parse(task.deadlineAt) - Date.now()));
  try {
    return await prepareMoments(task, context, moments, AbortSignal.any([signal, deadline]));
  } catch (error) {
    if (!deadline.aborted || signal.aborted) throw error;
    throw over(task.pauseId, "its deadline passed before its filesystem was ready; is the disk well?");
  }
}

/** Null where not each of the volumes can have one. */
async function prepareMoments(
  { moments: wanted = [] }: TaskOf<"pause">,
  { docker, hostRoot }: Pick<AgentContext, "docker" | "hostRoot">,
  moments: Moments,
  signal: AbortSignal,
): Promise<Prepared[] | null> {
  if (wanted.length === 0) return null;
  const { DockerRootDir } = await docker.info(signal);
  const dataRoot = await resolveHostPath(hostRoot, DockerRootDir);
  const prepared = await Promise.allSettled(
    wanted.map(async ({ volume, excludePaths }) => {
      const root = await volumeRoot(volume, docker, hostRoot, signal);
      return root === null ? null : await moments.prepare({ root, dataRoot, excludePaths, isQuiet: true }, signal);
    }),
  );
  const ready = fulfilled(prepared).filter((each) => each !== null);
  if (ready.length === wanted.length) return ready;
  await dropAll(ready);
  throwFirst(prepared);
  return null;
}

function fulfilled<T>(settled: readonly PromiseSettledResult<T>[]): T[] {
  return settled.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
}

function throwFirst(settled: readonly PromiseSettledResult<unknown>[]): void {
  for (const each of settled) if (each.status === "rejected") throw each.reason;
}

/** Null where only a container sees its bytes. */
async function volumeRoot(name: string, docker: Docker, hostRoot: string, signal: AbortSignal): Promise<string | null> {
  const volume = await docker.volume(name, signal);
  if (volume === null) return null;
  const kind = volumeKind(volume);
  if (kind.kind !== "plain" && kind.kind !== "bind") return null;
  return await resolveHostPath(hostRoot, kind.kind === "bind" ? kind.hostPath : volume.Mountpoint);
}

/** True where all were taken, and the quiet was proven for each: then they are kept for the jobs that read them. Else they are to be dropped. */
async function takeMoments(
  { pauseId, deadlineAt, moments: wanted = [] }: TaskOf<"pause">,
  prepared: readonly Prepared[],
  docker: Docker,
  { journal, moments }: QuietTools,
  signal: AbortSignal,
): Promise<boolean> {
  const quiet = { how: "pause", id: pauseId } as const;
  const begun = await Promise.allSettled(wanted.map(({ volume }) => QuietWatch.begin(docker, journal, volume, quiet)));
  const watches = fulfilled(begun);
  let taken: (Moment | null)[];
  let broken: (string | null)[];
  try {
    throwFirst(begun);
    taken = await Promise.all(prepared.map((each) => each.take(signal)));
    broken = await Promise.all(watches.map(proveInTime));
  } finally {
    for (const watch of watches) watch.close();
  }
  if (broken.some((why) => why !== null)) return false;
  const whole = taken.filter((moment) => moment !== null);
  if (whole.length < wanted.length) return false;
  for (const [at, { volume }] of wanted.entries()) {
    const moment = whole[at];
    if (moment !== undefined) moments.keep(pauseId, volume, moment, Date.parse(deadlineAt));
  }
  return true;
}

const proofMs = 30_000;

async function proveInTime(watch: QuietWatch): Promise<string | null> {
  const limit = AbortSignal.timeout(proofMs);
  try {
    return await watch.prove(limit);
  } catch (error) {
    if (!limit.aborted) throw error;
    return `the engine did not tell within ${proofMs / 1000} s`;
  }
}

/** They run; that they did not, and for how long, stays to be told. */
async function goOn(record: PauseRecord, docker: Docker, journal: Journal): Promise<void> {
  await Promise.all(record.containers.map(({ id }) => docker.unpauseContainer(id)));
  const quietMs = Math.max(0, Date.now() - Date.parse(record.pausedAt));
  writePause(journal, { ...record, quietMs });
}

/** What was quiet goes on, whatever the signal says; what is not paused or stopped any more is no error. Throws SKEP_START_FAILED, and then it is tried again each minute. */
export async function unpause(
  task: TaskOf<"unpause">,
  docker: Docker,
  journal: Journal,
  signal: AbortSignal,
): Promise<TaskResultOf<"unpause">> {
  for (;;) {
    const record = readPauses(journal).find(({ pauseId }) => pauseId === task.pauseId);
    const { quiet, isWaiting } = record === undefined ? nothing : await letGo(record, docker, journal);
    // The record of one that the engine can't end is kept, and looked at; it runs, and holds nobody up.
    if (!isWaiting || (record !== undefined && Date.now() >= stopsEndBy(record)))
      return { kind: "unpause", quiet, commands: await runHooks("hook.post", task.after, docker, signal) };
    await sleep(waitMs, undefined, { signal }).catch(() => {
      signal.throwIfAborted();
    });
  }
}

const waitMs = 500;
const nothing: LetGo = { quiet: [], wentOn: [], isWaiting: false };

/** Names of containers that went on. `now`: ms since 1970; Infinity: all, as when the agent starts. Throws as `unpause`, once all had their turn. */
export async function unpauseOverdue(docker: Docker, journal: Journal, now: number): Promise<string[]> {
  const { wentOn, faults } = await letGoDue(docker, journal, now);
  if (faults[0] !== undefined) throw faults[0];
  return wentOn;
}
