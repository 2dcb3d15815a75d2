// The commands that a user wants run before its volumes are quiet, and after.
import { setTimeout as sleep } from "node:timers/promises";
import type { TaskOf } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import type { CommandRecord } from "../../shared/repository/run.ts";
import type { Docker } from "../docker.ts";
import { containerName } from "../docker-objects.ts";
import { describePlace, findContainer, runInContainer } from "./container-command.ts";

type Hook = TaskOf<"pause">["before"][number];

/**
 * One after the other; what each came to is added to `commands`. `backBy` (ms since 1970): until then a container that
 * was stopped is waited for. Throws SKEP_COMMAND_FAILED, SKEP_COMMAND_NO_CONTAINER of one with on-error=fail, and its output.
 */
export async function runHooks(
  step: "hook.pre" | "hook.post",
  hooks: readonly Hook[],
  docker: Docker,
  signal: AbortSignal,
  commands: CommandRecord[],
  backBy = 0,
): Promise<void> {
  for (const { onError, ...command } of hooks) {
    const missing = await untilBack(command, docker, signal, backBy);
    const { record, fault } =
      missing === null ? await runInContainer(step, command, docker, signal) : notBack(step, missing);
    commands.push(record);
    if (fault === null || onError === "continue") continue;
    const { stderr, stdout = "" } = record;
    const said = (stderr.trim() === "" ? stdout : stderr).trim();
    throw new SkepError({
      code: fault.code,
      message: said === "" ? fault.message : `${fault.message}; it wrote: ${said.slice(-2048)}`,
      permanent: true,
      ...(fault.hint === undefined ? {} : { hint: fault.hint }),
    });
  }
}

const pollMs = 250;

interface Missing {
  /** Its name, or what it was looked for by. */
  container: string;
  why: string;
}

/** Null once the container of a command runs, and is healthy where it has a health check; else, after `backBy`, what is amiss. */
async function untilBack(
  command: Omit<Hook, "onError">,
  docker: Docker,
  signal: AbortSignal,
  backBy: number,
): Promise<Missing | null> {
  if (backBy === 0) return null;
  for (;;) {
    const missing = await lookFor(command, docker, signal);
    if (missing === null || Date.now() >= backBy) return missing;
    await sleep(pollMs, undefined, { signal }).catch(() => {
      signal.throwIfAborted();
    });
  }
}

async function lookFor(command: Omit<Hook, "onError">, docker: Docker, signal: AbortSignal): Promise<Missing | null> {
  const found = await findContainer(command, docker, signal);
  if (found === null) return { container: command.container ?? command.saidBy ?? "none", why: describePlace(command) };
  const name = containerName(found);
  const taskId = found.Labels?.["com.docker.swarm.task.id"];
  if (taskId !== undefined && (await isLeaving(taskId, docker, signal)))
    return { container: name, why: `container ${name} was told to stop, and has not` };
  const health = (await docker.container(found.Id, signal))?.State.Health?.Status ?? "none";
  return ["none", "healthy"].includes(health) ? null : { container: name, why: `container ${name} is ${health}` };
}

/** Of a quiet that was broken off before its service stood still: such a container would take the hook with it. Only a manager knows; elsewhere it counts as one that stays. */
async function isLeaving(taskId: string, docker: Docker, signal: AbortSignal): Promise<boolean> {
  try {
    const [task] = await docker.tasks({ id: [taskId] }, signal);
    return task === undefined || !stayingStates.has(task.DesiredState);
  } catch (error) {
    if ((error as SkepError).code === "SKEP_DOCKER_NOT_MANAGER") return false;
    throw error;
  }
}

/** What swarm wants of a task that is to run (swarmkit's task states). */
const stayingStates = new Set(["ready", "running"]);

function notBack(
  step: "hook.post" | "hook.pre",
  { container, why }: Missing,
): { record: CommandRecord; fault: SkepError } {
  const fault = new SkepError({
    code: "SKEP_COMMAND_NOT_BACK",
    message: `${step} was not run: what was stopped did not come back in time, ${why}`,
    permanent: true,
    hint: "see why it does not start (`docker service ps`), and do by hand what the hook would have done",
  });
  return { record: { step, container, exitCode: null, stderr: "" }, fault };
}
