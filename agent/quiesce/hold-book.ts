// The records of holds, as labelled configs of the swarm: written, found, marked and removed.
import { setTimeout as sleep } from "node:timers/promises";
import type { SkepError } from "../../shared/errors.ts";
import {
  decodeHoldRecord,
  encodeHoldRecord,
  holdLabels,
  holdOverName,
  holdRecordName,
  type HoldRecord,
} from "../../shared/contract/hold-record.ts";
import type { Docker } from "../docker.ts";
import type { NamedObject } from "../docker-objects.ts";

export interface KeptRecord {
  config: NamedObject;
  record: HoldRecord;
  /** Version of the service after Skep's own last update; null where it was not noted. */
  leftAt: number | null;
  /** ISO 8601; null where it was not stopped yet, or that was not noted. */
  heldAt: string | null;
  /** ISO 8601; null while the hold lasts. */
  releasedAt: string | null;
}

export interface Marks {
  version?: number;
  heldAt?: string;
  releasedAt?: string;
}

const triesOnConflict = 10;

/** Newest first; of all holds, or as the labels say. What somebody else labelled so is left out. */
export async function findRecords(
  docker: Docker,
  which: { holdId?: string; serviceId?: string } = {},
  signal?: AbortSignal,
): Promise<KeptRecord[]> {
  const label = [
    which.holdId === undefined ? holdLabels.hold : `${holdLabels.hold}=${which.holdId}`,
    ...(which.serviceId === undefined ? [] : [`${holdLabels.service}=${which.serviceId}`]),
  ];
  const found: KeptRecord[] = [];
  for (const config of await docker.configs({ label }, signal)) {
    const kept = keptRecord(config);
    if (kept === null) continue;
    const { holdId, serviceId } = kept.record;
    if ((which.holdId ?? holdId) === holdId && (which.serviceId ?? serviceId) === serviceId) found.push(kept);
  }
  return found.sort((a, b) => b.record.serviceVersion - a.record.serviceVersion);
}

function keptRecord(config: NamedObject): KeptRecord | null {
  const record = decodeHoldRecord(Buffer.from(config.Spec.Data ?? "", "base64"));
  if (record === null) return null;
  const labels = config.Spec.Labels ?? {};
  const version = labels[holdLabels.version];
  return {
    config,
    record,
    leftAt: version !== undefined && /^\d{1,15}$/.test(version) ? Number(version) : null,
    heldAt: timeOf(labels[holdLabels.heldAt]),
    releasedAt: timeOf(labels[holdLabels.releasedAt]),
  };
}

function timeOf(label: string | undefined): string | null {
  return label === undefined || Number.isNaN(Date.parse(label)) ? null : label;
}

/** The one that counts of each service, of records that are newest first. */
export function newestOfEach(records: readonly KeptRecord[]): KeptRecord[] {
  const seen = new Set<string>();
  return records.filter(({ record: { serviceId } }) => !seen.has(serviceId) && seen.add(serviceId));
}

/** Durable in the swarm when it resolves. One that is there already, from an attempt before this, stays. */
export async function writeRecord(docker: Docker, record: HoldRecord, signal?: AbortSignal): Promise<void> {
  const { holdId, serviceId, serviceVersion } = record;
  const name = holdRecordName(holdId, serviceId, serviceVersion);
  const labels = { [holdLabels.hold]: holdId, [holdLabels.service]: serviceId };
  await createOnce(docker, { name, labels, data: encodeHoldRecord(record) }, signal);
}

async function createOnce(
  docker: Docker,
  config: Parameters<Docker["createConfig"]>[0],
  signal?: AbortSignal,
): Promise<void> {
  try {
    await docker.createConfig(config, signal);
  } catch (error) {
    if ((error as SkepError).code !== "SKEP_DOCKER_CONFLICT") throw error;
  }
}

/** Durable in the swarm when it resolves: a hold that writes its record after that finds it, and one before is found by its record. */
export async function writeOver(docker: Docker, holdId: string): Promise<void> {
  const labels = { [holdLabels.hold]: holdId, [holdLabels.releasedAt]: new Date().toISOString() };
  await createOnce(docker, { name: holdOverName(holdId), labels, data: Buffer.from("{}") });
}

export async function isOver(docker: Docker, holdId: string, signal?: AbortSignal): Promise<boolean> {
  const found = await docker.configs({ label: [`${holdLabels.hold}=${holdId}`] }, signal);
  return found.some(({ Spec }) => Spec.Name === holdOverName(holdId));
}

/** Those that were written before `time`, ms since 1970. */
export async function dropOver(docker: Docker, time: number, signal?: AbortSignal): Promise<void> {
  for (const { ID, Spec } of await docker.configs({ label: [holdLabels.hold] }, signal)) {
    const { [holdLabels.hold]: holdId = "", [holdLabels.releasedAt]: writtenAt = "" } = Spec.Labels ?? {};
    if (Spec.Name === holdOverName(holdId) && Date.parse(writtenAt) < time) await docker.removeConfig(ID, signal);
  }
}

/** Adds marks to a record; no error where it is gone. */
export async function markRecord(docker: Docker, { config }: KeptRecord, marks: Marks): Promise<void> {
  for (let tries = 1; ; tries++) {
    const present = (await docker.configs({ id: [config.ID] })).find(({ ID }) => ID === config.ID);
    if (present === undefined) return;
    const labels = {
      ...present.Spec.Labels,
      ...(marks.version === undefined ? {} : { [holdLabels.version]: String(marks.version) }),
      ...(marks.heldAt === undefined ? {} : { [holdLabels.heldAt]: marks.heldAt }),
      ...(marks.releasedAt === undefined ? {} : { [holdLabels.releasedAt]: marks.releasedAt }),
    };
    try {
      await docker.relabelConfig(present, labels);
      return;
    } catch (error) {
      if ((error as SkepError).code !== "SKEP_DOCKER_CONFLICT" || tries >= triesOnConflict) throw error;
      await sleep(20 * tries);
    }
  }
}

export async function dropRecords(docker: Docker, records: readonly KeptRecord[], signal?: AbortSignal): Promise<void> {
  for (const { config } of records) await docker.removeConfig(config.ID, signal);
}
