// Freezing the containers that use a volume, or stopping those of no service (stop-containers.ts), for as long as it is
// read. Which ones is in the agent's journal before the first of them is told; they go on when they are told to, after
// their deadline, and when the agent starts: what was read under another life of it is not proven anyway. None of this
// needs the controller.
//
// Where the filesystem gives a moment of each volume that is to be taken, they go on as soon as it has.
import { setTimeout as sleep } from "node:timers/promises";
import type { TaskOf } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { SkepError, toErrorRecord } from "../../shared/errors.ts";
import type { CommandRecord } from "../../shared/repository/run.ts";
import { helperLabel, type Docker } from "../docker.ts";
import type { AgentContext, QuietTools } from "../context.ts";
import { resolveHostPath } from "../host-path.ts";
import type { Journal } from "../journal.ts";
import { containerName } from "../docker-objects.ts";
import { findOwnContainer } from "../own-container.ts";
import type { Moment, Moments, Prepared } from "../moment/moments.ts";
import { volumeKind } from "../../shared/volume-kind.ts";
import { findPlace, usesPlace } from "../volume-place.ts";
import { freezeAll, refuseOwn } from "./freeze.ts";
import { runHooks } from "./hooks.ts";
import { isStoppedBy, letGo, quietTimes, type LetGo } from "./let-go.ts";
import { readPauses, writePause, type PauseRecord } from "./pause-record.ts";
import { isBegun, isLetGo, noteAfter, noteBegun, noteLetGo, readAfter, readQuiet } from "./pause-steps.ts";
import { letGoInTurn, makeInTurn } from "./pause-turns.ts";
import { QuietWatch } from "./quiet-watch.ts";
import { findStops, stopAll } from "./stop-containers.ts";
import { stopsEndBy } from "./stopped-container.ts";

/**
 * Throws SKEP_PAUSE_OVER, SKEP_PAUSE_FAILED, SKEP_STOP_REFUSED, SKEP_STOP_TIMEOUT, and what the engine or a hook with
 * on-error=fail throws; then nothing stays paused or stopped. Once a hook ran, that is in `fault`, beside its output.
 */
export async function pause(
  task: TaskOf<"pause">,
  context: Pick<AgentContext, "docker" | "hostRoot">,
  tools: QuietTools,
  signal: AbortSignal,
): Promise<TaskResultOf<"pause">> {
  const commands: CommandRecord[] = [];
  try {
    const quiet = await makeInTurn(tools.journal, task.pauseId, signal, (wanted) =>
      makeQuiet(task, context, tools, { signal, wanted }, commands),
    );
    return { kind: "pause", ...quiet, commands };
  } catch (error) {
    if (commands.length === 0 || isStopping(signal)) throw error;
    return { kind: "pause", paused: [], stopped: [], commands, fault: toErrorRecord(error) };
  }
}

/** Then the job is given back, and begun anew. */
function isStopping({ aborted, reason }: AbortSignal): boolean {
  return aborted && (reason as SkepError).code === "SKEP_AGENT_STOPPING";
}

/** `wanted`: also aborted once it is let go. */
async function makeQuiet(
  task: TaskOf<"pause">,
  context: Pick<AgentContext, "docker" | "hostRoot">,
  { journal, moments }: QuietTools,
  { signal, wanted }: { signal: AbortSignal; wanted: AbortSignal },
  commands: CommandRecord[],
): Promise<Pick<TaskResultOf<"pause">, "paused" | "stopped">> {
  const { docker } = context;
  const { pauseId, deadlineAt, volumes, stops: toStop = [] } = task;
  if (Date.parse(deadlineAt) <= Date.now()) {
    throw over(pauseId, "it is not taken up, its deadline has passed");
  }
  if (isLetGo(journal, pauseId)) throw over(pauseId, wasLetGo);
  const isStopped = (id: string): boolean => isStoppedBy(readPauses(journal), id);
  // What can't be stopped or paused is said before anything is done.
  await findStops(toStop, docker, isStopped, wanted);
  const own = await findOwnContainer(docker, wanted);
  if (own !== null) refuseOwn(await runningUsers(volumes, docker, wanted), own.id);
  wanted.throwIfAborted();
  noteBegun(journal, pauseId);
  // They are not broken off: in its container one goes on all the same, and those after must not run beside it.
  await runHooks("hook.pre", task.before, docker, signal, commands);
  wanted.throwIfAborted();
  const prepared = await prepareInTime(task, context, moments, wanted);
  let record: PauseRecord | null = null;
  try {
    const stops = await findStops(toStop, docker, isStopped, wanted);
    const users = await runningUsers(volumes, docker, wanted);
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
    const inTime = AbortSignal.any([wanted, left]);
    try {
      await stopAll(stops, docker, write, inTime);
      await freezeAll(containers, docker, inTime);
    } catch (error) {
      throw error === left.reason ? over(pauseId, "its deadline passed before all was quiet") : error;
    }
    if (prepared !== null) {
      const isTaken = await takeMoments(task, prepared, docker, { journal, moments }, wanted);
      // Given up by who ordered it: what reads meanwhile must see that the quiet is over.
      wanted.throwIfAborted();
      if (isTaken) await goOn(record, docker, journal);
      else for (const each of prepared) moments.giveUp(pauseId, each);
    }
    return { paused: containers.map(nameOf), stopped: stops.map(nameOf) };
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

const wasLetGo = "it was told to go on before all was quiet";

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
  const place = await findPlace(volumes, docker, signal);
  for (const container of await docker.containers({ status: ["running"] }, signal)) {
    if (!usesPlace(container, place) || container.Labels?.[helperLabel] !== undefined) continue;
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
  { journal, moments }: Omit<QuietTools, "watches">,
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

/**
 * What was quiet goes on, whatever the signal says; what is not paused or stopped any more is no error, and how long it
 * was is told, whoever let it go. Throws SKEP_START_FAILED, and then it is tried again each minute; at the last try that
 * is in `fault`, and so is what a hook with on-error=fail came to. Hooks after run once for a pause, and only where its
 * hooks before were begun here; who orders them again is told what they came to.
 */
export async function unpause(
  task: TaskOf<"unpause">,
  docker: Docker,
  journal: Journal,
  signal: AbortSignal,
  isLastTry = false,
): Promise<TaskResultOf<"unpause">> {
  return await letGoInTurn(journal, task.pauseId, over(task.pauseId, wasLetGo), signal, () =>
    goOnAndTell(task, docker, journal, signal, isLastTry),
  );
}

async function goOnAndTell(
  { pauseId, after, backSeconds = 0 }: TaskOf<"unpause">,
  docker: Docker,
  journal: Journal,
  signal: AbortSignal,
  isLastTry: boolean,
): Promise<TaskResultOf<"unpause">> {
  const commands: CommandRecord[] = [];
  const begunAt = Date.now();
  // What no hook before has begun there is nothing to end of. And a run and what lets it go when it is lost may both order them.
  const hooks = isBegun(journal, pauseId) ? after : [];
  try {
    const quiet = await untilLetGo(pauseId, docker, journal, signal);
    noteLetGo(journal, pauseId);
    const ran = hooks.length === 0 ? null : readAfter(journal, pauseId);
    if (ran !== null) return { kind: "unpause", quiet, ...ran };
    await runHooks("hook.post", hooks, docker, signal, commands, begunAt + backSeconds * 1000);
    if (hooks.length > 0) noteAfter(journal, pauseId, { commands });
    return { kind: "unpause", quiet, commands };
  } catch (error) {
    const fault = toErrorRecord(error);
    // A hook that ran is not run once more because another's engine did not answer.
    const mayHelp = commands.length === 0 && !fault.permanent && !isLastTry;
    if (mayHelp || isStopping(signal)) throw error;
    if (commands.length > 0) noteAfter(journal, pauseId, { commands, fault });
    return { kind: "unpause", quiet: quietOf(pauseId, journal), commands, fault };
  }
}

async function untilLetGo(
  pauseId: string,
  docker: Docker,
  journal: Journal,
  signal: AbortSignal,
): Promise<LetGo["quiet"]> {
  for (;;) {
    const record = findPause(pauseId, journal);
    if (record === undefined) return readQuiet(journal, pauseId);
    const { quiet, isWaiting } = await letGo(record, docker, journal);
    // The record of one that the engine can't end is kept, and looked at; it runs, and holds nobody up.
    if (!isWaiting || Date.now() >= stopsEndBy(record)) return quiet;
    await sleep(waitMs, undefined, { signal }).catch(() => {
      signal.throwIfAborted();
    });
  }
}

const waitMs = 500;

function findPause(pauseId: string, journal: Journal): PauseRecord | undefined {
  return readPauses(journal).find((record) => record.pauseId === pauseId);
}

function quietOf(pauseId: string, journal: Journal): LetGo["quiet"] {
  const record = findPause(pauseId, journal);
  return record === undefined ? readQuiet(journal, pauseId) : quietTimes(record, Date.now());
}
