// Looks after what holds left in the swarm, on any manager, without the controller: a hold whose deadline has passed is
// released; a rollback that came out at a held spec is taken on to where it was meant to go; a record that says
// nothing any more is removed. Several managers may do it at once: each update names the version that it saw. One service
// that can't be helped keeps no other from being helped, nor from being held anew.
import { fromErrorRecord, SkepError, toErrorRecord } from "../../shared/errors.ts";
import { heldSpec, sameSpec } from "../../shared/held-spec.ts";
import type { Docker } from "../docker.ts";
import { dropOver, dropRecords, findRecords, markRecord, newestOfEach, type KeptRecord } from "./hold-book.ts";
import { isOfEngine, release } from "./release.ts";
import { strayRollback } from "./verdict.ts";

export interface Reconciled {
  /** Names of services. */
  released: string[];
  rolledBack: string[];
  /** SKEP_HOLD_STUCK of a hold that is over and stays, SKEP_HOLD_UNKEPT of what else could not be done; it is tried again at the next look. */
  faults: SkepError[];
}

/** `now`: ms since 1970. Throws where the engine does not answer, or is none of a manager. */
export async function reconcileHolds(docker: Docker, now: number, signal: AbortSignal): Promise<Reconciled> {
  const done: Reconciled = { released: [], rolledBack: [], faults: [] };
  /** Throws only what each other act would come to as well. */
  const attempt = async (what: string, act: () => Promise<void>): Promise<void> => {
    try {
      await act();
    } catch (error) {
      signal.throwIfAborted();
      if (isOfEngine(error)) throw error;
      done.faults.push(error instanceof SkepError && error.code === "SKEP_HOLD_STUCK" ? error : unkept(what, error));
    }
  };
  const records = await findRecords(docker, {}, signal);
  const overdue = new Set(
    records
      .filter(({ record, releasedAt }) => releasedAt === null && Date.parse(record.deadlineAt) <= now)
      .map(({ record }) => record.holdId),
  );
  for (const holdId of overdue) {
    await attempt(`hold ${holdId}`, async () => {
      const { released, rolledBack } = await release(holdId, docker);
      done.released.push(...released);
      done.rolledBack.push(...rolledBack);
    });
  }
  const newest = newestOfEach(records);
  const older = records.filter((kept) => kept.releasedAt !== null && !newest.includes(kept));
  for (const kept of older) await attempt(describe(kept), () => dropRecords(docker, [kept], signal));
  await attempt("holds that are over", () => dropOver(docker, now - keptAfterDeadlineMs, signal));
  for (const kept of newest) {
    if (kept.releasedAt === null) continue;
    await attempt(describe(kept), async () => {
      if (await followUp(kept, docker, now, signal)) done.rolledBack.push(kept.record.former.Name);
    });
  }
  return done;
}

function describe({ record }: KeptRecord): string {
  return `hold ${record.holdId} of service ${record.former.Name}, which is over`;
}

function unkept(what: string, thrown: unknown): SkepError {
  const { message, permanent, hint } = toErrorRecord(thrown);
  return fromErrorRecord({
    code: "SKEP_HOLD_UNKEPT",
    message: `what is left of ${what} can't be put in order: ${message}`,
    permanent,
    hint: hint ?? "it is tried again; services run meanwhile as they are",
  });
}

/** A copied order for a hold that was released must find that it was, until nobody takes such an order any more. */
const keptAfterDeadlineMs = 3600_000;

/** True where a stray rollback was completed. */
async function followUp(kept: KeptRecord, docker: Docker, now: number, signal: AbortSignal): Promise<boolean> {
  const { record, leftAt } = kept;
  const service = await docker.service(record.serviceId, signal);
  const isOld = now > Date.parse(record.deadlineAt) + keptAfterDeadlineMs;
  if (service === null) {
    if (isOld) await dropRecords(docker, [kept], signal);
    return false;
  }
  const target = strayRollback(service, record);
  if (target !== null) {
    try {
      await docker.updateService(record.serviceId, service.Version.Index, target, signal);
    } catch (error) {
      // Another manager was faster, or its owner: the next look sees what came of it.
      if ((error as SkepError).code === "SKEP_DOCKER_CONFLICT") return false;
      throw error;
    }
    const version = (await docker.service(record.serviceId, signal))?.Version.Index;
    await markRecord(docker, kept, version === undefined ? {} : { version });
    return true;
  }
  // Still what a rollback would go to? A service that its owner updated twice has other things behind it.
  const counts = service.Version.Index === leftAt || !sameSpec(service.Spec, record.former);
  const isBehind = sameSpec(service.PreviousSpec, heldSpec(record.former)) && counts;
  if (!isBehind && isOld) await dropRecords(docker, [kept], signal);
  return false;
}
