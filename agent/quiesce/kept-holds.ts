// The holds of a standalone run, which no controller releases: their ids are in the journal of its state folder before
// any service is touched. What a held service was is in the swarm (hold-book.ts), so that agents on managers, where
// there are such, release them at their deadline too.
import { setTimeout as sleep } from "node:timers/promises";
import type { TaskOf } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { fromErrorRecord, toErrorRecord, type SkepError } from "../../shared/errors.ts";
import type { Docker } from "../docker.ts";
import type { Journal } from "../journal.ts";
import { findRecords } from "./hold-book.ts";
import { describeHold, forgetHold, leftBehind, readHolds, writeHold, type HoldNote } from "./hold-note.ts";
import { hold, over, releasedMeanwhile } from "./hold.ts";
import { reconcileHolds } from "./reconcile.ts";
import { isOfEngine, release } from "./release.ts";

const pollMs = 250;
/** For an update of a service that was with the engine when its sender was killed: a slow leader has 20 s for it. */
const settleMs = 25_000;

interface Making {
  unwanted: AbortController;
  ended: Promise<unknown>;
}

/** Holds in the making, by id: these end by themselves what they began too late, and are none of releaseDue's until then. */
const underWay = new Map<string, Making>();

/**
 * Notes the hold first. Where no agent does, what others' holds left is put in order: a rollback that came out at a held
 * spec is taken on to where it was meant to go. What can't be helped of these stops this one in nothing, and is given to
 * `onFault`. Throws as `hold`, and SKEP_STATE_FULL, SKEP_STATE_UNWRITABLE.
 */
export async function holdNoted(
  task: TaskOf<"hold">,
  docker: Docker,
  journal: Journal,
  signal: AbortSignal,
  onFault: (fault: SkepError) => void = () => undefined,
): Promise<TaskResultOf<"hold">> {
  const unwanted = new AbortController();
  const either = AbortSignal.any([signal, unwanted.signal]);
  const { promise: ended, resolve } = Promise.withResolvers<undefined>();
  underWay.set(task.holdId, { unwanted, ended });
  try {
    writeHold(journal, await noteOf(task, docker, either));
    const { faults } = await reconcileHolds(docker, Date.now(), either);
    for (const fault of faults) onFault(fault);
    return await hold(task, docker, either);
  } catch (error) {
    if (!signal.aborted) unwanted.signal.throwIfAborted();
    throw error;
  } finally {
    underWay.delete(task.holdId);
    resolve(undefined);
  }
}

async function noteOf(task: TaskOf<"hold">, docker: Docker, signal: AbortSignal): Promise<HoldNote> {
  const { holdId, deadlineAt } = task;
  const services: HoldNote["services"] = [];
  for (const id of task.serviceIds) services.push({ id, name: (await docker.service(id, signal))?.Spec.Name ?? null });
  const clusterId = (await docker.info(signal)).Swarm.Cluster?.ID ?? null;
  return { holdId, deadlineAt, notedAt: new Date().toISOString(), services, clusterId };
}

/** And forgets the hold, once that is done. One that is still in the making ends first. */
export async function releaseNoted(holdId: string, docker: Docker, journal: Journal): Promise<TaskResultOf<"release">> {
  const making = underWay.get(holdId);
  making?.unwanted.abort(over(holdId, releasedMeanwhile));
  await making?.ended;
  const result = await release(holdId, docker);
  forgetHold(journal, holdId);
  return result;
}

/** Names of services that run again. */
interface Released {
  released: string[];
  /** SKEP_HOLD_LEFT_BEHIND of holds of a swarm that this node has left: told here, and forgotten. */
  lost: SkepError[];
  /** What could not be released, and stays noted. */
  faults: SkepError[];
}

/** Those whose deadline has passed. `now`: ms since 1970; Infinity: all. */
export async function releaseDue(docker: Docker, journal: Journal, now: number): Promise<Released> {
  const done: Released = { released: [], lost: [], faults: [] };
  for (const note of readHolds(journal)) {
    const { holdId, deadlineAt } = note;
    if (Date.parse(deadlineAt) > now || underWay.has(holdId)) continue;
    try {
      if (await isReachable(note, docker)) {
        const result = await releaseNoted(holdId, docker, journal);
        done.released.push(...result.released, ...result.rolledBack);
      } else {
        forgetHold(journal, holdId);
        done.lost.push(leftBehind(note));
      }
    } catch (error) {
      done.faults.push(faultOf(note, error));
    }
  }
  return done;
}

/** What the engine says of itself, with what is not given back for it. */
function faultOf(note: HoldNote, thrown: unknown): SkepError {
  const record = toErrorRecord(thrown);
  if (!isOfEngine(thrown)) return fromErrorRecord(record);
  const message = `${describeHold(note)}, since ${note.notedAt}, is not given back: ${record.message}`;
  return fromErrorRecord({ ...record, message });
}

/** A node that has left a swarm has none of its services, whether it is in another one or in none. A worker is not told which it is in. */
async function isReachable({ clusterId }: Pick<HoldNote, "clusterId">, docker: Docker): Promise<boolean> {
  const { LocalNodeState, Cluster } = (await docker.info()).Swarm;
  if (LocalNodeState === "inactive") return false;
  const present = Cluster?.ID ?? null;
  return clusterId === null || present === null || present === clusterId;
}

/**
 * Waits until what a process that was killed may have told the engine last is done: released before that, a service
 * would be stopped afterwards, and by nobody's hold. An engine that does not answer yet may be about to do it. What
 * keeps it from looking for good keeps from releasing too, and is told there.
 */
export async function settleHolds(docker: Docker, journal: Journal): Promise<void> {
  const until = Date.now() + settleMs;
  for (const note of readable(journal)) {
    while (Date.now() < until && (await mayBeUnderWay(docker, note))) await sleep(pollMs);
  }
}

/** None where they can't be read: the release that comes next tells why. */
function readable(journal: Journal): HoldNote[] {
  try {
    return readHolds(journal);
  } catch {
    return [];
  }
}

async function mayBeUnderWay(docker: Docker, note: HoldNote): Promise<boolean> {
  try {
    if (!(await isReachable(note, docker))) return false;
    for (const { record, heldAt, releasedAt } of await findRecords(docker, { holdId: note.holdId })) {
      if (heldAt !== null || releasedAt !== null) continue;
      const service = await docker.service(record.serviceId);
      if (service !== null && service.Version.Index === record.serviceVersion) return true;
    }
    return false;
  } catch (error) {
    return !toErrorRecord(error).permanent;
  }
}
