// Holding services: a replicated one gets no replicas, a global one a constraint that no node meets, for as long as
// something needs their volumes quiet; and giving them back. What is done is written down before (hold-book.ts), so
// that whoever comes next can undo it. Whoever changes a held service meanwhile wins (verdict.ts).
import { setTimeout as sleep } from "node:timers/promises";
import { heldSpec, sameSpec, type HoldRecord, type SpecJson } from "../../shared/contract/hold-record.ts";
import type { TaskOf, TaskResultOf } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import type { Docker } from "../docker.ts";
import type { SwarmService } from "../docker-objects.ts";
import { dropRecords, findRecords, markRecord, newestOfEach, writeRecord, type KeptRecord } from "./hold-book.ts";
import { refusalOf, type Refusal } from "./refusal.ts";
import { previousOf, verdictOn, type Spec } from "./verdict.ts";

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
const pollMs = 250;
/** Longer than Docker's default of 10 s for a container to stop, and any that is usual. */
const defaultGoneTimeoutMs = 180_000;
const triesOnConflict = 10;

type HoldResult = TaskResultOf<"hold">;
type ReleaseResult = TaskResultOf<"release">;

/**
 * Resolves once no task of the held services is left on any node. A service that can't be held is in `skipped`; with
 * `allOrNone` it is an error, SKEP_HOLD_REFUSED, and none is held. Throws SKEP_HOLD_OVER where the deadline has
 * passed or the hold was released before, SKEP_HOLD_TIMEOUT where tasks stay; then all that was held is released again.
 */
export async function hold(
  task: TaskOf<"hold">,
  docker: Docker,
  signal: AbortSignal,
  goneTimeoutMs = defaultGoneTimeoutMs,
): Promise<HoldResult> {
  const { holdId, deadlineAt } = task;
  if (Date.parse(deadlineAt) <= Date.now()) throw over(holdId, "its deadline has passed");
  const earlier = await findRecords(docker, { holdId }, signal);
  if (earlier.some(({ releasedAt }) => releasedAt !== null)) throw over(holdId, "it was released before");
  const skipped: HoldResult["skipped"] = [];
  const shared = new Set(task.sharedVolumes);
  const nodes = await docker.nodes(signal);
  const refuse = (service: SwarmService, refusal: Refusal): void => {
    const { ID: serviceId, Spec } = service;
    if (task.allOrNone) throw refused(Spec.Name, refusal);
    skipped.push({ serviceId, name: Spec.Name, reason: refusal.reason, message: refusal.message });
  };
  const services: SwarmService[] = [];
  const held: HoldResult["held"] = [];
  for (const id of task.serviceIds) {
    const service = await docker.service(id, signal);
    if (service === null) continue;
    const known = earlier.some(({ record }) => record.serviceId === id);
    const refusal = known ? null : refusalOf(service, nodes, shared);
    if (refusal !== null) refuse(service, refusal);
    // Nothing to stop: an update would only cost it its previous spec.
    else if (!known && replicasOf(service.Spec) === 0)
      held.push({ serviceId: id, name: service.Spec.Name, replicas: 0 });
    else services.push(service);
  }
  try {
    for (const service of services) await record(service, task, docker, signal);
    for (const service of services) {
      const kept = await stop(service.ID, task, docker, signal);
      if (kept === null) refuse(service, changedMeanwhile);
      else held.push({ serviceId: service.ID, name: service.Spec.Name, replicas: replicasOf(kept.record.former) });
    }
    const goneMs = Math.min(goneTimeoutMs, Date.parse(deadlineAt) - Date.now());
    await untilGone(docker, held, signal, goneMs);
    return { kind: "hold", held, skipped };
  } catch (error) {
    // An agent that stops gives the job back: the next one goes on with it, or the deadline ends it.
    const stopping = signal.aborted && (signal.reason as SkepError).code === "SKEP_AGENT_STOPPING";
    if (!stopping) await release(holdId, docker);
    throw error;
  }
}

const changedMeanwhile: Refusal = { reason: "changed", message: "its owner changed it just now", hint: "try again" };

async function record(service: SwarmService, task: TaskOf<"hold">, docker: Docker, signal: AbortSignal): Promise<void> {
  const { ID: serviceId, Version } = service;
  const all = await findRecords(docker, { serviceId }, signal);
  if (all.some(({ record: { holdId } }) => holdId === task.holdId)) return;
  const { holdId, deadlineAt } = task;
  await writeRecord(docker, recordOf(service, { holdId, deadlineAt }, all[0] ?? null, Version.Index), signal);
  // What a rollback of this service means is in the new record.
  await dropRecords(
    docker,
    all.filter(({ releasedAt }) => releasedAt !== null),
    signal,
  );
}

function recordOf(
  service: SwarmService,
  hold: Pick<HoldRecord, "holdId" | "deadlineAt">,
  last: KeptRecord | null,
  serviceVersion: number,
): HoldRecord {
  const { ID: serviceId, Spec, PreviousSpec, UpdateStatus } = service;
  const earlier = last?.record ?? null;
  // Then the present status is that of the release, and tells nothing of its owner's last update.
  const asReleased =
    earlier !== null && sameSpec(Spec, earlier.former) && sameSpec(PreviousSpec, heldSpec(earlier.former));
  return {
    version: 1,
    ...hold,
    serviceId,
    former: Spec,
    previous: previousOf(service, earlier),
    updateStatus: (asReleased ? earlier.updateStatus : UpdateStatus) ?? null,
    serviceVersion,
  };
}

/** Null where somebody changed the service after it was recorded. */
async function stop(
  serviceId: string,
  task: TaskOf<"hold">,
  docker: Docker,
  signal: AbortSignal,
): Promise<KeptRecord | null> {
  const [kept] = await findRecords(docker, { holdId: task.holdId, serviceId }, signal);
  if (kept === undefined) return null;
  const { record, leftAt } = kept;
  const service = await docker.service(serviceId, signal);
  if (service === null) return null;
  if (verdictOn(service, record, leftAt).kind === "held") return kept;
  if (service.Version.Index !== record.serviceVersion) {
    await dropRecords(docker, [kept], signal);
    return null;
  }
  const heldAt = new Date().toISOString();
  try {
    await docker.updateService(serviceId, record.serviceVersion, heldSpec(record.former) as Spec, signal);
  } catch (error) {
    if ((error as SkepError).code !== "SKEP_DOCKER_CONFLICT") throw error;
    // The update may have been carried out although its answer was lost.
    const now = await docker.service(serviceId, signal);
    if (now === null || verdictOn(now, record, null).kind !== "held") {
      await dropRecords(docker, [kept], signal);
      return null;
    }
  }
  const version = (await docker.service(serviceId, signal))?.Version.Index;
  await markRecord(docker, kept, { heldAt, ...(version === undefined ? {} : { version }) });
  return kept;
}

function replicasOf({ Mode }: SpecJson): number | null {
  return Mode.Replicated ? (Mode.Replicated.Replicas ?? 1) : null;
}

async function untilGone(
  docker: Docker,
  held: HoldResult["held"],
  signal: AbortSignal,
  timeoutMs: number,
): Promise<void> {
  if (held.length === 0) return;
  const until = Date.now() + timeoutMs;
  for (;;) {
    const tasks = await docker.tasks({ service: held.map(({ serviceId }) => serviceId) }, signal);
    const living = tasks.filter((task) => livingStates.has(task.Status.State));
    if (living.length === 0) return;
    if (Date.now() >= until) {
      const where = [...new Set(living.map((task) => `${task.ID} on node ${task.NodeID ?? "none"}`))].slice(0, 10);
      throw new SkepError({
        code: "SKEP_HOLD_TIMEOUT",
        message: `after ${Math.round(timeoutMs / 1000)} s tasks of ${held.map(({ name }) => name).join(", ")} are still there: ${where.join(", ")}`,
        permanent: true,
        hint: "is that node down, or does the container ignore its stop signal? The services were given back",
      });
    }
    await sleep(pollMs, undefined, { signal });
  }
}

/** Whatever is still held by this hold is given back. Not aborted by anything: services must run again. */
export async function release(holdId: string, docker: Docker): Promise<ReleaseResult> {
  const result: ReleaseResult = { kind: "release", released: [], leftAlone: [], rolledBack: [], quiet: [] };
  const records = await findRecords(docker, { holdId });
  for (const kept of newestOfEach(records)) {
    if (kept.releasedAt === null) await releaseOne(kept, docker, result);
  }
  return result;
}

async function releaseOne(kept: KeptRecord, docker: Docker, result: ReleaseResult): Promise<void> {
  const { record, leftAt } = kept;
  const { serviceId, former } = record;
  const name = former.Name;
  for (let tries = 1; ; tries++) {
    const service = await docker.service(serviceId);
    if (service === null) {
      await dropRecords(docker, [kept]);
      result.leftAlone.push(name);
      return;
    }
    const verdict = verdictOn(service, record, leftAt);
    try {
      switch (verdict.kind) {
        case "held":
          await docker.updateService(serviceId, service.Version.Index, former);
          result.released.push(name);
          break;
        case "as-before":
          result.released.push(name);
          break;
        case "rolled-back":
          if (verdict.to !== null) await docker.updateService(serviceId, service.Version.Index, verdict.to);
          result.rolledBack.push(name);
          break;
        case "changed":
          if (verdict.without !== null) await keepChange(kept, service, verdict.without, docker);
          result.leftAlone.push(name);
          break;
      }
      await noteRelease(kept, docker, result);
      return;
    } catch (error) {
      const { code } = error as SkepError;
      const again = code === "SKEP_DOCKER_CONFLICT" || code === "SKEP_DOCKER_NOT_FOUND";
      if (!again || tries >= triesOnConflict) throw error;
      await sleep(50 * tries);
    }
  }
}

/** Its owner's change stays, without what it took over from the held spec; what a rollback means then is recorded first. */
async function keepChange(kept: KeptRecord, service: SwarmService, spec: Spec, docker: Docker): Promise<void> {
  const { record } = kept;
  const { holdId, deadlineAt, former } = record;
  const next: HoldRecord = {
    ...recordOf(service, { holdId, deadlineAt }, null, service.Version.Index),
    former: spec,
    previous: former,
  };
  await writeRecord(docker, next);
  await docker.updateService(record.serviceId, service.Version.Index, spec);
  const [newest] = await findRecords(docker, { holdId, serviceId: record.serviceId });
  if (newest !== undefined) await noteRelease(newest, docker, null);
}

async function noteRelease(kept: KeptRecord, docker: Docker, result: ReleaseResult | null): Promise<void> {
  const { record, heldAt } = kept;
  const releasedAt = new Date().toISOString();
  const version = (await docker.service(record.serviceId))?.Version.Index;
  await markRecord(docker, kept, { releasedAt, ...(version === undefined ? {} : { version }) });
  if (result === null || heldAt === null) return;
  const quietMs = Math.max(0, Date.parse(releasedAt) - Date.parse(heldAt));
  result.quiet.push({ service: record.former.Name, quietMs });
}

function refused(name: string, { message, hint }: Refusal): SkepError {
  return new SkepError({
    code: "SKEP_HOLD_REFUSED",
    message: `service ${name} is not stopped: ${message}`,
    permanent: true,
    hint,
  });
}

function over(holdId: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_HOLD_OVER",
    message: `hold ${holdId} is not taken up: ${why}`,
    permanent: true,
    hint: "order a new one",
  });
}
