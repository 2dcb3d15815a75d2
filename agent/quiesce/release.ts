// The end of a hold: services are given back as they were before it, or as their owner, who changed them meanwhile, wants
// them (verdict.ts). One that can't be given back keeps no other from it.
import { setTimeout as sleep } from "node:timers/promises";
import type { HoldRecord } from "../../shared/contract/hold-record.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { SkepError, toErrorRecord, type ErrorRecord } from "../../shared/errors.ts";
import type { Docker } from "../docker.ts";
import type { SwarmService } from "../docker-objects.ts";
import {
  dropRecords,
  findRecords,
  markRecord,
  newestOfEach,
  writeOver,
  writeRecord,
  type KeptRecord,
} from "./hold-book.ts";
import { recordOf, verdictOn, type Spec } from "./verdict.ts";

const triesOnConflict = 10;

type ReleaseResult = TaskResultOf<"release">;

/**
 * Whatever is still held by this hold is given back, and `forGood` nothing is held by it any more. Not aborted by
 * anything: services must run again. Throws SKEP_HOLD_STUCK of those that could not be given back, once all had their turn.
 */
export async function release(holdId: string, docker: Docker, forGood = false): Promise<ReleaseResult> {
  if (forGood) await writeOver(docker, holdId);
  const result = emptyRelease();
  const records = await findRecords(docker, { holdId });
  const left: Stuck[] = [];
  for (const kept of newestOfEach(records)) {
    // After a deadline, or a hold that came to nothing, it runs again; for how long it did not is still to be told.
    if (kept.releasedAt !== null) noteQuiet(kept, kept.heldAt, kept.releasedAt, result);
    else {
      try {
        await releaseOne(kept, docker, result);
      } catch (error) {
        if (isOfEngine(error)) throw error;
        left.push({ kept, why: toErrorRecord(error) });
      }
    }
  }
  if (left.length > 0) throw stuck(holdId, left);
  return result;
}

interface Stuck {
  kept: KeptRecord;
  why: ErrorRecord;
}

const codesOfEngine: ReadonlySet<string> = new Set([
  ...["SKEP_DOCKER_UNREACHABLE", "SKEP_DOCKER_NOT_MANAGER", "SKEP_DOCKER_MANAGER_STOPPED"],
]);

/** Then every other call would come to the same. */
export function isOfEngine(thrown: unknown): boolean {
  return codesOfEngine.has(toErrorRecord(thrown).code);
}

const mostNamed = 10;

function stuck(holdId: string, left: readonly Stuck[]): SkepError {
  const named = left.slice(0, mostNamed).map(({ kept: { record }, why }) => `${record.former.Name} (${why.message})`);
  const others = left.length > mostNamed ? ` and ${left.length - mostNamed} others` : "";
  const [first] = left;
  return new SkepError({
    code: "SKEP_HOLD_STUCK",
    message: `hold ${holdId}, until ${first?.kept.record.deadlineAt ?? "now"}: not given back: ${named.join(", ")}${others}`,
    permanent: left.every(({ why }) => why.permanent),
    hint: `mend what the engine names, and it is tried again; or update the service by hand to what it was: \`docker config inspect ${first?.kept.config.Spec.Name ?? ""}\``,
  });
}

export function emptyRelease(): ReleaseResult {
  return { kind: "release", released: [], leftAlone: [], rolledBack: [], quiet: [] };
}

/** Throws what the engine throws. */
export async function releaseOne(kept: KeptRecord, docker: Docker, result: ReleaseResult): Promise<void> {
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
      // One that died before it noted when: the engine did.
      const heldAt = kept.heldAt ?? (verdict.kind === "held" ? (service.UpdatedAt ?? null) : null);
      noteQuiet(kept, heldAt, await noteRelease(kept, heldAt, docker), result);
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
  if (newest !== undefined) await noteRelease(newest, kept.heldAt, docker);
}

/** When it was, ISO 8601. */
async function noteRelease(kept: KeptRecord, heldAt: string | null, docker: Docker): Promise<string> {
  const releasedAt = new Date().toISOString();
  const version = (await docker.service(kept.record.serviceId))?.Version.Index;
  const marks = { releasedAt, ...(heldAt !== null && { heldAt }), ...(version !== undefined && { version }) };
  await markRecord(docker, kept, marks);
  return releasedAt;
}

function noteQuiet({ record }: KeptRecord, heldAt: string | null, releasedAt: string, result: ReleaseResult): void {
  if (heldAt === null) return;
  const quietMs = Math.max(0, Date.parse(releasedAt) - Date.parse(heldAt));
  result.quiet.push({ service: record.former.Name, quietMs });
}
