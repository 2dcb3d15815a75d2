// Holding services: a replicated one gets no replicas, a global one a constraint that no node meets, for as long as
// something needs their volumes quiet; release.ts gives them back. What is done is written down before (hold-book.ts), so
// that whoever comes next can undo it. Whoever changes a held service meanwhile wins (verdict.ts). A service is in one
// hold at a time: what a second one would write down as its former spec is what the first one made of it.
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { TaskOf } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { SkepError } from "../../shared/errors.ts";
import { heldSpec, type SpecJson } from "../../shared/held-spec.ts";
import type { Docker } from "../docker.ts";
import type { SwarmService } from "../docker-objects.ts";
import { dropRecords, findRecords, isOver, markRecord, writeRecord, type KeptRecord } from "./hold-book.ts";
import { refusalOf, type Refusal } from "./refusal.ts";
import { emptyRelease, release, releaseOne } from "./release.ts";
import { isAsReleased, recordOf, verdictOn, type Spec } from "./verdict.ts";

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
/** Characters, as taskResultSchema takes them. */
const mostMessage = 4096;

/** ms. */
export interface HoldTimings {
  /** How long tasks may take to go: longer than Docker's default of 10 s for a container to stop, and any that is usual. */
  goneMs: number;
  /** How long the end of another hold is waited for, while what this one's unit paused stands still. */
  othersMs: number;
  /** The same where nothing stands still yet: before a restore. */
  othersOfAllMs: number;
}
const defaultTimings: HoldTimings = { goneMs: 180_000, othersMs: 15_000, othersOfAllMs: 120_000 };

type HoldResult = TaskResultOf<"hold">;

/**
 * Resolves once no task of the held services is left on any node. A service that can't be held is in `skipped`; with
 * `allOrNone` it is an error, SKEP_HOLD_REFUSED, and none is held. Throws SKEP_HOLD_OVER where the deadline has
 * passed or the hold was released, SKEP_HOLD_TIMEOUT where tasks stay; then all that was held is released again.
 */
export async function hold(
  task: TaskOf<"hold">,
  docker: Docker,
  signal: AbortSignal,
  timings: Partial<HoldTimings> = {},
): Promise<HoldResult> {
  const { goneMs, othersMs, othersOfAllMs } = { ...defaultTimings, ...timings };
  const { holdId, deadlineAt } = task;
  refuseLate(task);
  const earlier = await findRecords(docker, { holdId }, signal);
  if (earlier.some(({ releasedAt }) => releasedAt !== null)) throw over(holdId, "it was released before");
  const skipped: HoldResult["skipped"] = [];
  const refuse = ({ ID: serviceId, Spec }: SwarmService, refusal: Refusal): void => {
    if (task.allOrNone) throw refused(Spec.Name, refusal);
    const message = refusal.message.slice(0, mostMessage);
    skipped.push({ serviceId, name: Spec.Name, reason: refusal.reason, message });
  };
  const claimed: SwarmService[] = [];
  const held: HoldResult["held"] = [];
  const othersUntil = Date.now() + (task.allOrNone ? othersOfAllMs : othersMs);
  try {
    for (const id of task.serviceIds) {
      const claim = await claimService(id, task, docker, signal, othersUntil);
      if (claim === null) continue;
      const { service } = claim;
      if (claim.kind === "refused") refuse(service, claim.refusal);
      else if (claim.kind === "idle") held.push({ serviceId: id, name: service.Spec.Name, replicas: 0 });
      else claimed.push(service);
    }
    for (const service of claimed) {
      signal.throwIfAborted();
      const kept = await stop(service.ID, task, docker, signal);
      if (kept === null) refuse(service, changedMeanwhile);
      else held.push({ serviceId: service.ID, name: service.Spec.Name, replicas: replicasOf(kept.record.former) });
    }
    await untilGone(docker, held, signal, Math.min(goneMs, Date.parse(deadlineAt) - Date.now()));
    return { kind: "hold", held, skipped };
  } catch (error) {
    // An agent that stops gives the job back: the next one goes on with it, or the deadline ends it.
    const stopping = signal.aborted && (signal.reason as SkepError).code === "SKEP_AGENT_STOPPING";
    if (!stopping) await release(holdId, docker);
    throw error;
  }
}

const changedMeanwhile: Refusal = { reason: "changed", message: "its owner changed it just now", hint: "try again" };

type Claim =
  /** Its record is this hold's. */
  | { kind: "claimed"; service: SwarmService }
  /** Nothing to stop: an update would only cost it its previous spec. */
  | { kind: "idle"; service: SwarmService }
  | { kind: "refused"; service: SwarmService; refusal: Refusal };

/** Writes the record of a service that can be held, once no other hold of it is open. Null where there is no such service. */
async function claimService(
  serviceId: string,
  task: TaskOf<"hold">,
  docker: Docker,
  signal: AbortSignal,
  othersUntil: number,
): Promise<Claim | null> {
  const { holdId, deadlineAt } = task;
  const shared = new Set(task.sharedVolumes);
  for (;;) {
    if (await isOver(docker, holdId, signal)) throw over(holdId, releasedMeanwhile);
    const all = await findRecords(docker, { serviceId }, signal);
    const service = await docker.service(serviceId, signal);
    if (service === null) return null;
    const own = all.find(({ record }) => record.holdId === holdId);
    const other = otherOpen(all, holdId);
    // An attempt before this stopped it: whoever wrote a record since steps back.
    const isStopped = own !== undefined && verdictOn(service, own.record, own.leftAt).kind === "held";
    if (own !== undefined && (isStopped || other === undefined)) return { kind: "claimed", service };
    if (own !== undefined) await dropRecords(docker, [own], signal);
    else if (other === undefined) {
      const refusal = refusalOf(service, await docker.nodes(signal), shared);
      const last = all[0]?.record ?? null;
      // The engine's own work at Skep's last release soon ends.
      const isStarting = refusal?.reason === "update" && isAsReleased(service, last) && Date.now() < othersUntil;
      if (isStarting) {
        await sleep(pollMs, undefined, { signal });
        continue;
      }
      if (refusal !== null) return { kind: "refused", service, refusal };
      if (replicasOf(service.Spec) === 0) return { kind: "idle", service };
      refuseLate(task);
      await writeRecord(docker, recordOf(service, { holdId, deadlineAt }, last, service.Version.Index), signal);
      const now = await findRecords(docker, { serviceId }, signal);
      if (otherOpen(now, holdId) === undefined) {
        // What a rollback of this service means is in the new record.
        const older = all.filter(({ releasedAt }) => releasedAt !== null);
        await dropRecords(docker, older, signal);
        return { kind: "claimed", service };
      }
      // Two at once: each that sees the other steps back, and tries again at another moment.
      const mine = now.filter(({ record }) => record.holdId === holdId);
      await dropRecords(docker, mine, signal);
    }
    if (other !== undefined && Date.parse(other.record.deadlineAt) <= Date.now()) {
      const fault = await endOverdue(other, docker);
      const still = otherOpen(await findRecords(docker, { serviceId }, signal), holdId);
      if (fault === null || still?.record.holdId !== other.record.holdId) continue;
      if (fault.permanent || Date.now() >= othersUntil)
        return { kind: "refused", service, refusal: heldByStuck(other, fault) };
    } else if (Date.now() >= othersUntil) return { kind: "refused", service, refusal: heldByOther(other) };
    await sleep(pollMs + randomInt(pollMs), undefined, { signal });
  }
}

function otherOpen(records: readonly KeptRecord[], holdId: string): KeptRecord | undefined {
  return records.find(({ record, releasedAt }) => releasedAt === null && record.holdId !== holdId);
}

/** Null where all of it was given back. */
async function endOverdue({ record }: KeptRecord, docker: Docker): Promise<SkepError | null> {
  try {
    await release(record.holdId, docker);
    return null;
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_HOLD_STUCK") return error;
    throw error;
  }
}

function heldByStuck({ record, heldAt }: KeptRecord, { message, hint }: SkepError): Refusal {
  const since = heldAt === null ? "" : ` since ${heldAt}`;
  return {
    reason: "held",
    message: `hold ${record.holdId}, which is over, has it stopped${since}, and it can't be given back: ${message}`,
    hint: hint ?? "give it back by hand",
  };
}

function heldByOther(other: KeptRecord | undefined): Refusal {
  const until = other === undefined ? "" : ` until ${other.record.deadlineAt} at the latest`;
  return {
    reason: "held",
    message: `another run or restore has it stopped${until}`,
    hint: "wait for the end of that: `skep runs` and `skep restore list` show what is under way",
  };
}

/** Null where somebody changed the service after it was recorded. Throws SKEP_HOLD_OVER where the hold was released meanwhile. */
async function stop(
  serviceId: string,
  task: TaskOf<"hold">,
  docker: Docker,
  signal: AbortSignal,
): Promise<KeptRecord | null> {
  const [kept] = await findRecords(docker, { holdId: task.holdId, serviceId }, signal);
  if (kept === undefined) return null;
  const { record, leftAt } = kept;
  // A release that found no record left word of itself before it looked.
  const isReleased = kept.releasedAt !== null || (await isOver(docker, record.holdId, signal));
  if (isReleased) throw over(record.holdId, releasedMeanwhile);
  const service = await docker.service(serviceId, signal);
  if (service === null) return null;
  if (verdictOn(service, record, leftAt).kind === "held") return kept;
  if (service.Version.Index !== record.serviceVersion) {
    await dropRecords(docker, [kept], signal);
    return null;
  }
  // Who releases what is overdue may have been here already.
  refuseLate(task);
  const heldAt = new Date().toISOString();
  try {
    // Not aborted: one that is on its way would stop the service after its release.
    await docker.updateService(serviceId, record.serviceVersion, heldSpec(record.former) as Spec);
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
  // A release that came in between found it as it was, and nobody would come again.
  const [marked] = await findRecords(docker, { holdId: task.holdId, serviceId });
  if (marked === undefined || marked.releasedAt === null) return kept;
  await releaseOne(marked, docker, emptyRelease());
  throw over(record.holdId, releasedMeanwhile);
}

export const releasedMeanwhile = "it was released meanwhile";

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

function refused(name: string, { message, hint }: Refusal): SkepError {
  return new SkepError({
    code: "SKEP_HOLD_REFUSED",
    message: `service ${name} is not stopped: ${message}`,
    permanent: true,
    hint,
  });
}

function refuseLate({ holdId, deadlineAt }: TaskOf<"hold">): void {
  if (Date.parse(deadlineAt) <= Date.now()) throw over(holdId, "its deadline has passed");
}

/** SKEP_HOLD_OVER. */
export function over(holdId: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_HOLD_OVER",
    message: `hold ${holdId} is not taken up: ${why}`,
    permanent: true,
    hint: "order a new one",
  });
}
