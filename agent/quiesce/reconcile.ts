// Looks after what holds left in the swarm, on any manager, without the controller: a hold whose deadline has passed is
// released; a rollback that came out at a held spec is taken on to where it was meant to go; a record that says
// nothing any more is removed. Several managers may do it at once: each update names the version that it saw.
import type { SkepError } from "../../shared/errors.ts";
import { heldSpec, sameSpec } from "../../shared/contract/hold-record.ts";
import type { Docker } from "../docker.ts";
import { dropRecords, findRecords, markRecord, newestOfEach, type KeptRecord } from "./hold-book.ts";
import { release } from "./hold.ts";
import { strayRollback } from "./verdict.ts";

export interface Reconciled {
  /** Names of services. */
  released: string[];
  rolledBack: string[];
}

/** `now`: ms since 1970. */
export async function reconcileHolds(docker: Docker, now: number, signal: AbortSignal): Promise<Reconciled> {
  const done: Reconciled = { released: [], rolledBack: [] };
  const records = await findRecords(docker, {}, signal);
  const overdue = new Set(
    records
      .filter(({ record, releasedAt }) => releasedAt === null && Date.parse(record.deadlineAt) <= now)
      .map(({ record }) => record.holdId),
  );
  for (const holdId of overdue) {
    const { released, rolledBack } = await release(holdId, docker);
    done.released.push(...released);
    done.rolledBack.push(...rolledBack);
  }
  const newest = newestOfEach(records);
  const older = records.filter((kept) => kept.releasedAt !== null && !newest.includes(kept));
  await dropRecords(docker, older, signal);
  for (const kept of newest) {
    if (kept.releasedAt === null || !(await followUp(kept, docker, now, signal))) continue;
    done.rolledBack.push(kept.record.former.Name);
  }
  return done;
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
