// Tasks that run on machines of the old swarm and began after the state that is laid down: no manager that goes on from that
// state knows them, so they end. Asked of the machines' engines by the labels that swarm gives to its containers.
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import type { MachineFacts } from "./machine-facts.ts";
import type { RemoteMachine } from "./remote-machine.ts";
import type { SwarmView } from "./swarm-view.ts";

/** A task that runs, and that the state has not. */
export interface NewerTask {
  machine: string;
  /** Hostname. */
  node: string;
  taskId: string;
  serviceId: string;
  /** Its service's. */
  service: string;
  /** ISO 8601. */
  startedAt: string;
}

/** Docker's labels of a task's container (moby, daemon/cluster/executor/container). */
const taskLabel = "com.docker.swarm.task.id";
const serviceIdLabel = "com.docker.swarm.service.id";
const serviceLabel = "com.docker.swarm.service.name";

const containersSchema = z.array(z.looseObject({ Id: z.string(), Labels: z.record(z.string(), z.string()).nullish() }));
type Container = z.infer<typeof containersSchema>[number];
const containerSchema = z.looseObject({ State: z.looseObject({ StartedAt: z.string() }) });

/** By machine, of those that are in a swarm now; one that was asked and runs no such task has an empty list. */
export async function askNewerTasks(
  planned: readonly { name: string; facts: Pick<MachineFacts, "hostname" | "swarmState"> }[],
  view: SwarmView,
  machines: ReadonlyMap<string, RemoteMachine>,
  signal: AbortSignal,
): Promise<Map<string, NewerTask[]>> {
  const known = new Set(view.taskIds ?? []);
  const asked = planned.map(async ({ name, facts }): Promise<[string, NewerTask[]][]> => {
    const machine = machines.get(name);
    if (facts.swarmState === "inactive" || machine === undefined) return [];
    const filters = JSON.stringify({ label: [taskLabel], status: ["running", "paused", "restarting"] });
    const containers = await machine.engine(containersSchema, { path: "/containers/json", query: { filters } }, signal);
    const tasks: NewerTask[] = [];
    for (const { Id, Labels } of unknownTasks(containers, known)) {
      const startedAt = await startOf(machine, Id, signal);
      if (startedAt === null) continue;
      const [taskId, serviceId, service] = [taskLabel, serviceIdLabel, serviceLabel].map(
        (label) => Labels?.[label] ?? "",
      );
      tasks.push({
        ...{ machine: name, node: facts.hostname, startedAt },
        ...{ taskId: taskId ?? "", serviceId: serviceId ?? "", service: service ?? "" },
      });
    }
    return [[name, tasks]];
  });
  return new Map((await Promise.all(asked)).flat());
}

export function unknownTasks(containers: readonly Container[], known: ReadonlySet<string>): Container[] {
  return containers.filter(({ Labels }) => {
    const task = Labels?.[taskLabel];
    return task !== undefined && !known.has(task);
  });
}

/** Null where it has ended since. */
async function startOf(machine: RemoteMachine, id: string, signal: AbortSignal): Promise<string | null> {
  try {
    const { State } = await machine.engine(containerSchema, { path: `/containers/${id}/json` }, signal);
    return State.StartedAt;
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_DOCKER_NOT_FOUND") return null;
    throw error;
  }
}
