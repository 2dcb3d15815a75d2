// A copy may have been taken while Skep held services for a backup or a restore. In a swarm that is made of it nobody
// would give them back before the holds' deadlines, and its operator would see stopped services: so what those holds
// did is undone in the state itself, from the records that lie in it as labelled configs.
import { decodeHoldRecord, holdLabels, type HoldRecord } from "../contract/hold-record.ts";
import { heldConstraint } from "./hold.ts";
import type { ObjectStore } from "./object-store.ts";
import { decodeMessage, encodeMessage, type Message } from "./swarmkit/message-types.ts";

export interface UndoneHold {
  holdId: string;
  serviceId: string;
  name: string;
}

/** Changes `store` in place: services that were held and not released get their replicas and constraints back. */
export function undoHolds(store: ObjectStore): UndoneHold[] {
  const undone: UndoneHold[] = [];
  for (const { holdId, serviceId, former } of openHolds(store)) {
    const bytes = store.objects.service.get(serviceId);
    if (bytes === undefined) continue;
    const service = decodeMessage("Service", bytes);
    if (!giveBack(service, former)) continue;
    store.objects.service.set(serviceId, encodeMessage("Service", service));
    undone.push({ holdId, serviceId, name: service.spec?.annotations?.name ?? "" });
  }
  return undone;
}

/** Records of holds that were not released when the copy was taken. */
export function openHolds(store: ObjectStore): HoldRecord[] {
  const records: HoldRecord[] = [];
  for (const bytes of store.objects.config.values()) {
    const { spec } = decodeMessage("Config", bytes);
    const labels: Record<string, string> = spec?.annotations?.labels ?? {};
    if (spec === undefined || labels[holdLabels.hold] === undefined) continue;
    // One that says when the service was stopped says also when that was over.
    if (labels[holdLabels.releasedAt] !== undefined) continue;
    const record = decodeHoldRecord(spec.data);
    if (record !== null) records.push(record);
  }
  return records;
}

/** Changes the service to what it was. False where it is not as a hold leaves it: its owner changed it, or it was not stopped yet. */
export function giveBack({ spec }: Message<"Service">, former: HoldRecord["former"]): boolean {
  if (spec === undefined) return false;
  const constraints = spec.task?.placement?.constraints ?? [];
  const at = constraints.indexOf(heldConstraint);
  if (at >= 0) {
    constraints.splice(at, 1);
    return true;
  }
  const replicas = BigInt(former.Mode.Replicated?.Replicas ?? 1);
  if (spec.mode.case !== "replicated" || spec.mode.value.replicas !== 0n || replicas === 0n) return false;
  spec.mode.value.replicas = replicas;
  return true;
}
