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

/**
 * Changes `store` in place: services that were held and not released get their replicas and constraints back, and every
 * record is closed. An open one would have the new swarm's agents release its service later, whatever that is then: also one
 * that a restore holds until its volumes are there. `now`: milliseconds since 1970.
 */
export function undoHolds(store: ObjectStore, now: number): UndoneHold[] {
  const undone: UndoneHold[] = [];
  const records = holdRecords(store);
  for (const { holdId, serviceId, former } of openHoldsOf(records)) {
    const bytes = store.objects.service.get(serviceId);
    if (bytes === undefined) continue;
    const service = decodeMessage("Service", bytes);
    if (!giveBack(service, former)) continue;
    store.objects.service.set(serviceId, encodeMessage("Service", service));
    undone.push({ holdId, serviceId, name: service.spec?.annotations?.name ?? "" });
  }
  for (const found of records) if (found.isOpen) close(store, found, now);
  return undone;
}

/** The newest record of each service, of holds that were not released when the copy was taken. */
export function openHolds(store: ObjectStore): HoldRecord[] {
  return openHoldsOf(holdRecords(store));
}

interface FoundRecord {
  configId: string;
  config: Message<"Config">;
  record: HoldRecord;
  isOpen: boolean;
}

/** Newest first. What somebody else labelled so is left out. */
function holdRecords(store: ObjectStore): FoundRecord[] {
  const found: FoundRecord[] = [];
  for (const [configId, bytes] of store.objects.config) {
    const config = decodeMessage("Config", bytes);
    const labels: Record<string, string> = config.spec?.annotations?.labels ?? {};
    if (config.spec === undefined || labels[holdLabels.hold] === undefined) continue;
    const record = decodeHoldRecord(config.spec.data);
    // One that says when the service was stopped says also when that was over.
    if (record !== null) found.push({ configId, config, record, isOpen: labels[holdLabels.releasedAt] === undefined });
  }
  return found.sort((left, right) => right.record.serviceVersion - left.record.serviceVersion);
}

function openHoldsOf(records: readonly FoundRecord[]): HoldRecord[] {
  const seen = new Set<string>();
  return records
    .filter(({ record: { serviceId } }) => !seen.has(serviceId) && seen.add(serviceId))
    .flatMap(({ isOpen, record }) => (isOpen ? [record] : []));
}

/** As an agent marks it that released the service. */
function close(store: ObjectStore, { configId, config, record }: FoundRecord, now: number): void {
  const labels = config.spec?.annotations?.labels;
  if (labels === undefined) return;
  labels[holdLabels.releasedAt] = new Date(now).toISOString();
  const service = store.objects.service.get(record.serviceId);
  const version = service === undefined ? undefined : decodeMessage("Service", service).meta?.version?.index;
  if (version !== undefined) labels[holdLabels.version] = version.toString();
  store.objects.config.set(configId, encodeMessage("Config", config));
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
