// When a run is due, as pure functions of the policy, of what began before, and of the time. A schedule's run is
// named by the minute that it was due, so that the queue takes each but once, however often it is offered.
import { Cron } from "croner";
import { createHash } from "node:crypto";
import type { Policy, Schedule } from "./policy.ts";

export interface DueRun {
  schedule: string;
  /** ISO 8601, UTC: what the cron pattern says, without jitter. */
  dueAt: string;
  /** Later than its time by more than a minute: the controller was down, or another run was in progress. */
  missed: boolean;
}

/** Beyond its jitter, in ms, a start counts as late. */
const punctualMs = 60_000;

/**
 * The schedules whose latest due time has come and that have not begun a run since. Of several missed times only
 * the latest counts. `begunAt`: when each schedule last began a run, or when it was first seen (a new schedule has
 * missed nothing); ms since 1970.
 */
export function dueRuns(
  policy: Pick<Policy, "schedules">,
  begunAt: ReadonlyMap<string, number>,
  now: number,
): DueRun[] {
  const due: DueRun[] = [];
  for (const schedule of policy.schedules) {
    const begun = begunAt.get(schedule.name);
    const at = lastDue(schedule, now);
    if (begun === undefined || at === null || begun >= at) continue;
    const start = at + jitterMs(schedule, at);
    if (start > now) continue;
    due.push({ schedule: schedule.name, dueAt: new Date(at).toISOString(), missed: now - start > punctualMs });
  }
  return due;
}

/** ms since 1970; null where it never was. */
export function lastDue(schedule: Schedule, now: number): number | null {
  const [last] = cron(schedule).previousRuns(1, new Date(now + 1));
  return last === undefined ? null : last.getTime();
}

/** ms since 1970, with its jitter; null where it never comes. */
export function nextStart(schedule: Schedule, now: number): number | null {
  const last = lastDue(schedule, now);
  if (last !== null && last + jitterMs(schedule, last) > now) return last + jitterMs(schedule, last);
  const next = cron(schedule).nextRun(new Date(now))?.getTime();
  return next === undefined ? null : next + jitterMs(schedule, next);
}

function cron(schedule: Schedule): Cron {
  return new Cron(schedule.cron, { mode: "5-part", timezone: schedule.timeZone, paused: true });
}

/** Even over the schedule's jitter, the same whoever asks. */
function jitterMs(schedule: Schedule, dueAt: number): number {
  const hash = createHash("sha256").update(`${schedule.name} ${dueAt}`).digest();
  return Math.floor((hash.readUInt32BE(0) / 2 ** 32) * schedule.jitterSeconds * 1000);
}

/** Job id of a scheduled run in the queue. */
export function dueJobId(run: Pick<DueRun, "schedule" | "dueAt">): string {
  return `due-${run.schedule}-${run.dueAt.replaceAll(/\D/g, "").slice(0, 12)}`;
}
