// Holding services: scaled to zero for as long as something needs their volumes quiet, and always given back.
//
// The record of a hold is a Docker config, labelled, written before the first service is touched: any manager's
// agent finds it, whoever died meanwhile. Each held service carries the hold's id and its former replicas as labels.
// A service is given back only while it still has that mark and no replicas: if somebody scaled or deployed it
// meanwhile, it is as that one wanted it. A hold that was released leaves its record until its deadline, marked
// so, and is not taken up again: a copied job holds nothing twice.
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { SkepError } from "../shared/errors.ts";
import { restoreIdSchema, type TaskOf, type TaskResultOf } from "../shared/contract/job.ts";
import type { AgentContext, Attempt } from "./context.ts";
import type { Docker } from "./docker.ts";
import type { NamedObject, SwarmService } from "./docker-objects.ts";

export const holdLabel = "io.skep.hold";
export const holdReplicasLabel = "io.skep.hold.replicas";
const releasedLabel = "io.skep.hold.released";

const holdRecordSchema = z.strictObject({
  holdId: restoreIdSchema,
  deadlineAt: z.iso.datetime(),
  services: z.array(z.strictObject({ id: z.string().max(64), name: z.string().max(1024), replicas: z.int().min(0) })),
});
export type HoldRecord = z.infer<typeof holdRecordSchema>;

/** States of a task whose container is, or may be, there (swarmkit's task states up to `running`). */
const livingStates = new Set([
  "new",
  "allocated",
  "pending",
  "assigned",
  "accepted",
  "preparing",
  "ready",
  "starting",
  "running",
]);
const pollMs = 500;
/** Longer than Docker's default of 10 s for a container to stop, and any that is usual. */
const defaultGoneTimeoutMs = 180_000;
const triesOnConflict = 10;

type QuiesceContext = Pick<AgentContext, "docker">;

/**
 * Resolves once no task of the services is left on any node. Throws SKEP_HOLD_UNSUPPORTED for a service that is not
 * replicated, SKEP_HOLD_OVER where the deadline has passed or the hold was released before, SKEP_HOLD_TIMEOUT where
 * tasks stay; then all that was held is released again.
 */
export async function hold(
  task: TaskOf<"hold">,
  { docker }: QuiesceContext,
  attempt: Pick<Attempt, "signal">,
  goneTimeoutMs = defaultGoneTimeoutMs,
): Promise<TaskResultOf<"hold">> {
  const { signal } = attempt;
  if (Date.parse(task.deadlineAt) <= Date.now()) throw over(task.holdId, "its deadline has passed");
  const found = await findHold(docker, task.holdId, signal);
  if (found?.released === true) throw over(task.holdId, "it was released before");
  const record = found?.record ?? (await recordHold(task, docker, signal));
  try {
    for (const service of record.services) await scaleToZero(docker, record.holdId, service.id, signal);
    await untilGone(docker, record, signal, Math.min(goneTimeoutMs, Date.parse(record.deadlineAt) - Date.now()));
  } catch (error) {
    await releaseHold(docker, record.holdId);
    throw error;
  }
  return {
    kind: "hold",
    held: record.services.map(({ id, name, replicas }) => ({ serviceId: id, name, replicas })),
  };
}

export async function release(task: TaskOf<"release">, { docker }: QuiesceContext): Promise<TaskResultOf<"release">> {
  return { kind: "release", ...(await releaseHold(docker, task.holdId)) };
}

/** Releases every hold whose deadline has passed, and forgets released ones. On any manager; several may at once. */
export async function releaseOverdue(docker: Docker, now: number, signal: AbortSignal): Promise<string[]> {
  const released: string[] = [];
  for (const config of await docker.configs({ label: [holdLabel] }, signal)) {
    const record = recordOf(config);
    if (record === null || Date.parse(record.deadlineAt) > now) continue;
    const { released: names } = await releaseHold(docker, record.holdId);
    released.push(...names);
    await docker.removeConfig(config.ID, signal);
  }
  return released;
}

/** Whatever is still held by this hold is given back. Not aborted by anything: services must run again. */
async function releaseHold(docker: Docker, holdId: string): Promise<{ released: string[]; leftAlone: string[] }> {
  const result = { released: [] as string[], leftAlone: [] as string[] };
  const found = await findHold(docker, holdId);
  if (found === null || found.released) return result;
  for (const { id, name } of found.record.services) {
    const seen = { asWeLeftIt: false };
    await changeService(docker, id, (service) => {
      seen.asWeLeftIt = replicasOf(service) === 0 && service.Spec.Labels?.[holdLabel] === holdId;
      return releasedSpec(service, holdId);
    });
    (seen.asWeLeftIt ? result.released : result.leftAlone).push(name);
  }
  await markReleased(docker, holdId);
  return result;
}

async function markReleased(docker: Docker, holdId: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const found = await findHold(docker, holdId);
    if (found === null || found.released) return;
    try {
      await docker.relabelConfig(found.config, { [holdLabel]: holdId, [releasedLabel]: "true" });
    } catch (error) {
      if ((error as SkepError).code !== "SKEP_DOCKER_CONFLICT" || tries >= triesOnConflict) throw error;
    }
  }
}

interface FoundHold {
  config: NamedObject;
  record: HoldRecord;
  released: boolean;
}

async function findHold(docker: Docker, holdId: string, signal?: AbortSignal): Promise<FoundHold | null> {
  for (const config of await docker.configs({ label: [`${holdLabel}=${holdId}`] }, signal)) {
    const record = recordOf(config);
    if (record?.holdId !== holdId) continue;
    return { config, record, released: config.Spec.Labels?.[releasedLabel] === "true" };
  }
  return null;
}

/** Null for a config that somebody else labelled so. */
function recordOf(config: NamedObject): HoldRecord | null {
  const text = Buffer.from(config.Spec.Data ?? "", "base64").toString("utf8");
  try {
    return holdRecordSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

async function recordHold(task: TaskOf<"hold">, docker: Docker, signal: AbortSignal): Promise<HoldRecord> {
  const services: HoldRecord["services"] = [];
  for (const id of task.serviceIds) {
    const service = await docker.service(id, signal);
    if (service === null) continue;
    const replicas = replicasOf(service);
    if (replicas === null) {
      throw new SkepError({
        code: "SKEP_HOLD_UNSUPPORTED",
        message: `service ${service.Spec.Name} is not replicated: it cannot be scaled to zero`,
        permanent: true,
        hint: "stop it yourself, e.g. by a placement constraint that no node meets, and restore without --stop",
      });
    }
    services.push({ id, name: service.Spec.Name, replicas });
  }
  const record: HoldRecord = { holdId: task.holdId, deadlineAt: task.deadlineAt, services };
  await docker.createConfig(
    {
      name: `skep-hold-${task.holdId}`,
      labels: { [holdLabel]: task.holdId },
      data: Buffer.from(JSON.stringify(record), "utf8"),
    },
    signal,
  );
  return record;
}

/** Null where the service has another mode. */
function replicasOf(service: SwarmService): number | null {
  const { Replicated } = service.Spec.Mode;
  return Replicated ? (Replicated.Replicas ?? 1) : null;
}

/** Changes a service's spec, anew where somebody was faster; does nothing where `change` gives null, or it is gone. */
async function changeService(
  docker: Docker,
  id: string,
  change: (service: SwarmService) => SwarmService["Spec"] | null,
  signal?: AbortSignal,
): Promise<void> {
  for (let tries = 1; ; tries++) {
    const service = await docker.service(id, signal);
    const spec = service === null ? null : change(service);
    if (service === null || spec === null) return;
    try {
      await docker.updateService(id, service.Version.Index, spec, signal);
      return;
    } catch (error) {
      const { code } = error as SkepError;
      if (code === "SKEP_DOCKER_NOT_FOUND") return;
      if (code !== "SKEP_DOCKER_CONFLICT" || tries >= triesOnConflict) throw error;
      await sleep(50 * tries, undefined, signal === undefined ? {} : { signal });
    }
  }
}

async function scaleToZero(docker: Docker, holdId: string, id: string, signal: AbortSignal): Promise<void> {
  await changeService(docker, id, (service) => heldSpec(service, holdId), signal);
}

/** The spec of a held service; null where it is held already, or cannot be. */
export function heldSpec(service: SwarmService, holdId: string): SwarmService["Spec"] | null {
  const replicas = replicasOf(service);
  if (replicas === null || service.Spec.Labels?.[holdLabel] === holdId) return null;
  const labels = { ...service.Spec.Labels, [holdLabel]: holdId, [holdReplicasLabel]: String(replicas) };
  return { ...service.Spec, Labels: labels, Mode: { Replicated: { ...service.Spec.Mode.Replicated, Replicas: 0 } } };
}

/** The spec of a service given back; null where it is not held by this hold any more: its owner changed it. */
export function releasedSpec(service: SwarmService, holdId: string): SwarmService["Spec"] | null {
  const { [holdLabel]: mark, [holdReplicasLabel]: former, ...labels } = service.Spec.Labels ?? {};
  if (mark !== holdId || former === undefined || !/^\d{1,9}$/.test(former)) return null;
  // Scaled up by its owner: the replicas stay as they are, only the mark goes.
  const replicas = replicasOf(service) === 0 ? Number(former) : replicasOf(service);
  if (replicas === null) return null;
  return {
    ...service.Spec,
    Labels: labels,
    Mode: { Replicated: { ...service.Spec.Mode.Replicated, Replicas: replicas } },
  };
}

async function untilGone(docker: Docker, record: HoldRecord, signal: AbortSignal, timeoutMs: number): Promise<void> {
  if (record.services.length === 0) return;
  const until = Date.now() + timeoutMs;
  for (;;) {
    const tasks = await docker.tasks({ service: record.services.map(({ id }) => id) }, signal);
    const living = tasks.filter((task) => livingStates.has(task.Status.State));
    if (living.length === 0) return;
    if (Date.now() >= until) {
      const where = [...new Set(living.map((task) => `${task.ID} on node ${task.NodeID ?? "none"}`))].slice(0, 10);
      throw new SkepError({
        code: "SKEP_HOLD_TIMEOUT",
        message: `after ${Math.round(timeoutMs / 1000)} s tasks of ${record.services.map(({ name }) => name).join(", ")} are still there: ${where.join(", ")}`,
        permanent: false,
        hint: "is that node down, or does the container ignore its stop signal? The services were given back",
      });
    }
    await sleep(pollMs, undefined, { signal });
  }
}

function over(holdId: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_HOLD_OVER",
    message: `hold ${holdId} is not taken up: ${why}`,
    permanent: true,
    hint: "order a new one",
  });
}
