// What is to be said of tasks that are newer than the state, and of how far that reaches. Pure.
import type { NewerTask } from "./newer-tasks.ts";
import type { ExaminedPlan, Finding } from "./recovery-plan.ts";

/** More are only counted; the plan's JSON has all. */
const tasksNamed = 30;

type Say = (severity: Finding["severity"], code: string, text: string) => void;

/** Up to when the state reaches, which tasks are newer, and where nobody could be asked. */
export function examineNewerTasks(plan: ExaminedPlan, say: Say): void {
  say("note", "state-reach", reachOf(plan));
  // Since this recovery's swarm was begun, tasks that the copy has not are its own.
  if (plan.begun) return;
  const { newerTasks } = plan;
  for (const task of newerTasks.slice(0, tasksNamed)) say("warning", "task-newer", taskText(task, plan));
  if (newerTasks.length > tasksNamed) {
    say("warning", "task-newer", `and ${newerTasks.length - tasksNamed} more tasks that are newer than the state`);
  }
  const unasked = unaskedText(plan);
  if (unasked !== null) say("note", "tasks-unasked", unasked);
}

function reachOf({ survivor, stateChangedAt, takenAt }: ExaminedPlan): string {
  const lost = "services, secrets, configs, networks and nodes that were made or changed later, it does not know";
  const last = stateChangedAt === null ? "" : `, its last change was at ${stateChangedAt}`;
  const from = survivor === null ? `is of the run of ${takenAt}` : `is that of ${survivor.machine}`;
  return `the state ${from}${last}: ${lost}`;
}

function taskText({ machine, node, service, serviceId, startedAt }: NewerTask, { mode, view }: ExaminedPlan): string {
  const where = node === machine ? node : `${node} (${machine})`;
  const end = mode === "quorum" ? "the recovered manager removes it" : "it ends when the machine leaves its swarm";
  const isKnown = view.services.some(({ id }) => id === serviceId);
  const then = isKnown ? "its service starts another" : "its service is not in the state, and does not come back";
  return `the task of ${service} on ${where}, which runs since ${startedAt}, is newer than the state: ${end}; ${then}`;
}

/** Null where every node that lives was asked. */
function unaskedText({ mode, machines, surviving }: ExaminedPlan): string | null {
  if (mode === "quorum") {
    if (surviving.length === 0) return null;
    const names = surviving.map(({ hostname }) => hostname).join(", ");
    return `nobody asked ${names} which tasks there are newer than the state, and would be removed: list them as machines to see that`;
  }
  if (machines.some(({ facts }) => facts.swarmState !== "inactive")) return null;
  return "no machine of the inventory is in the old swarm: which of its tasks were newer than the state nobody can tell; none of them comes back";
}
