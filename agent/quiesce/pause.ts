// Freezing the containers that use a volume, for as long as it is read. Which ones is in the agent's journal before
// the first of them is frozen; they go on when they are told to, after their deadline, and when the agent starts:
// what was read under another life of it is not proven anyway. None of this needs the controller.
import { z } from "zod";
import { restoreIdSchema, type TaskOf, type TaskResultOf } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import { helperLabel, type Docker } from "../docker.ts";
import type { Journal } from "../journal.ts";
import { containerName } from "../docker-objects.ts";
import { runHooks } from "./hooks.ts";

const pauseRecordSchema = z.strictObject({
  pauseId: restoreIdSchema,
  deadlineAt: z.iso.datetime(),
  /** ISO 8601: before the first one was frozen. */
  pausedAt: z.iso.datetime(),
  containers: z.array(z.strictObject({ id: z.string(), name: z.string() })),
});
export type PauseRecord = z.infer<typeof pauseRecordSchema>;

export function readPauses(journal: Journal): PauseRecord[] {
  return journal.pauses().map((text) => pauseRecordSchema.parse(JSON.parse(text)));
}

/** Throws SKEP_PAUSE_OVER, SKEP_PAUSE_FAILED, and what a hook with on-error=fail throws; nothing is paused then. */
export async function pause(
  task: TaskOf<"pause">,
  docker: Docker,
  journal: Journal,
  signal: AbortSignal,
): Promise<TaskResultOf<"pause">> {
  const { pauseId, deadlineAt, volumes } = task;
  if (Date.parse(deadlineAt) <= Date.now()) {
    throw new SkepError({
      code: "SKEP_PAUSE_OVER",
      message: `pause ${pauseId} is not taken up: its deadline has passed`,
      permanent: true,
      hint: "the next run orders a new one",
    });
  }
  const commands = await runHooks("hook.pre", task.before, docker, signal);
  const containers = [];
  for (const container of await docker.containers({ status: ["running"] }, signal)) {
    const uses = container.Mounts?.some(({ Type, Name = "" }) => Type === "volume" && volumes.includes(Name)) === true;
    if (!uses || container.Labels?.[helperLabel] !== undefined) continue;
    containers.push({ id: container.Id, name: containerName(container) });
  }
  const record: PauseRecord = { pauseId, deadlineAt, pausedAt: new Date().toISOString(), containers };
  journal.putPause(pauseId, JSON.stringify(record));
  try {
    await Promise.all(containers.map(({ id }) => docker.pauseContainer(id, signal)));
  } catch (error) {
    await letGo(record, docker, journal);
    throw new SkepError({
      code: "SKEP_PAUSE_FAILED",
      message: `a container could not be paused: ${(error as Error).message}`,
      permanent: true,
      hint: "did it just end? Those that were paused go on",
      cause: error,
    });
  }
  return { kind: "pause", paused: containers.map(({ name }) => name), commands };
}

/** Not aborted by anything: containers must go on. What is not paused any more is no error. */
export async function unpause(
  task: TaskOf<"unpause">,
  docker: Docker,
  journal: Journal,
  signal: AbortSignal,
): Promise<TaskResultOf<"unpause">> {
  const record = readPauses(journal).find(({ pauseId }) => pauseId === task.pauseId);
  const quiet = record === undefined ? [] : await letGo(record, docker, journal);
  return { kind: "unpause", quiet, commands: await runHooks("hook.post", task.after, docker, signal) };
}

/** Names of containers that went on. `now`: ms since 1970; Infinity: all, as when the agent starts. */
export async function unpauseOverdue(docker: Docker, journal: Journal, now: number): Promise<string[]> {
  const names: string[] = [];
  for (const record of readPauses(journal)) {
    if (Date.parse(record.deadlineAt) > now) continue;
    names.push(...(await letGo(record, docker, journal)).map(({ container }) => container));
  }
  return names;
}

async function letGo(record: PauseRecord, docker: Docker, journal: Journal): Promise<TaskResultOf<"unpause">["quiet"]> {
  await Promise.all(record.containers.map(({ id }) => docker.unpauseContainer(id)));
  journal.removePause(record.pauseId);
  const quietMs = Math.max(0, Date.now() - Date.parse(record.pausedAt));
  return record.containers.map(({ name }) => ({ container: name, quietMs }));
}
