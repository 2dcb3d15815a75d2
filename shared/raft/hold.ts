// Holding services: a state in which chosen services start nothing, although nodes are active. A replicated service gets
// zero replicas. A global one, and a job (an API update of a job would run it anew), gets a constraint that no node
// meets. Their tasks leave the state, except a job's ended ones, without which it would run again. What the service was
// before is given back, to be laid beside and to be restored by an update through the API.
import { heldConstraint } from "../held-spec.ts";
import { serviceSpec } from "./engine-api/service.ts";
import type { Json } from "./engine-api/values.ts";
import type { ObjectStore } from "./object-store.ts";
import { decodeMessage, encodeMessage, makeMessage, type Message } from "./swarmkit/message-types.ts";

export { heldConstraint };

export interface HeldService {
  id: string;
  name: string;
  mode: "replicated" | "global" | "replicatedJob" | "globalJob";
  /** Version index of the service, which a hold leaves as it is: another one means that somebody changed it since. */
  version: number;
  /** The former spec as Engine-API JSON: what an update sends to release the service. Registry credentials stay within. */
  spec: Json;
}

/** Changes `store` in place. `chosen` is asked for every service whose tasks are containers or plugins. */
export function holdServices(store: ObjectStore, chosen: (service: Message<"Service">) => boolean): HeldService[] {
  const held = new Map<string, HeldService>();
  for (const [id, bytes] of store.objects.service) {
    const service = decodeMessage("Service", bytes);
    const { spec } = service;
    if (spec?.task === undefined || spec.mode.case === undefined || !chosen(service)) continue;
    held.set(id, {
      id,
      name: spec.annotations?.name ?? "",
      mode: spec.mode.case,
      version: Number(service.meta?.version?.index ?? 0n),
      spec: structuredClone(serviceSpec(spec)),
    });
    if (spec.mode.case === "replicated") spec.mode.value.replicas = 0n;
    else {
      spec.task.placement ??= makeMessage("Placement", {});
      spec.task.placement.constraints.push(heldConstraint);
    }
    // Of a rollback before the copy: agents would take it for one that came out at what a hold left, and start the service.
    service.updateStatus = undefined;
    store.objects.service.set(id, encodeMessage("Service", service));
  }
  for (const [id, bytes] of store.objects.task) {
    const task = decodeMessage("Task", bytes);
    const of = held.get(task.serviceId);
    if (of === undefined) continue;
    const endedJob = of.mode.endsWith("Job") && (task.status?.state ?? 0) > runningState;
    if (!endedJob) store.objects.task.delete(id);
  }
  return [...held.values()];
}

/** TaskState RUNNING; above it a task has ended. */
const runningState = 512;
