// Which runs to keep, as a pure function of the runs, the policy and the time. Of each hour, day, week, month or year in the
// policy's time zone the newest good run counts, and so many of those periods that have one are kept; periods without a
// run use nothing up. So nothing is forgotten because backups stopped.
import { protectedRuns } from "../shared/repository/upkeep/forget.ts";
import type { RunBrief } from "../shared/repository/upkeep/chain-survey.ts";
import type { Policy } from "./policy.ts";

export type Retention = Policy["retention"];

export interface Verdict {
  run: RunBrief;
  /** Why it is kept; empty: it is to be forgotten. */
  keptFor: string[];
}

/** Whose days and weeks are counted. */
export function timeZoneOf({ retention, schedules }: Pick<Policy, "retention" | "schedules">): string {
  return retention.timeZone ?? schedules[0]?.timeZone ?? "UTC";
}

const periods = ["hourly", "daily", "weekly", "monthly", "yearly"] as const;
type Period = (typeof periods)[number];

/**
 * `runs` newest first, as the chain has them; `now` in ms since 1970. Where the policy names no count, every run is kept.
 *  - `last` counts in the order of the chain, whatever the clocks said.
 *  - A run that is dated after `now` was made by a clock that was wrong: it is kept, and takes no period's place.
 *  - `failed` runs hold no period. `partial` ones do only where their period has none that is `done`.
 *  - The newest run, the last good one and the newest proven Raft state are always kept.
 */
export function decideRetention(
  runs: readonly RunBrief[],
  retention: Retention,
  now: number,
  timeZone: string,
): Verdict[] {
  const reasons = protectedRuns(runs);
  const keep = (run: RunBrief, reason: string): void => {
    reasons.set(run.id, [...(reasons.get(run.id) ?? []), reason]);
  };
  const counted = [...periods, "last" as const].some((period) => retention[period] !== undefined);
  if (!counted) for (const run of runs) keep(run, "the policy keeps every run");
  for (const run of runs.slice(0, retention.last ?? 0)) keep(run, "last");
  const dated = runs.filter(({ startedAt }) => Date.parse(startedAt) <= now);
  for (const run of runs) if (!dated.includes(run)) keep(run, "dated in the future");
  const good = dated.filter(({ status }) => status !== "failed");
  for (const period of periods) {
    const count = retention[period];
    if (count === undefined) continue;
    for (const run of newestOfPeriods(good, period, count, timeZone)) keep(run, period);
  }
  return runs.map((run) => ({ run, keptFor: reasons.get(run.id) ?? [] }));
}

function newestOfPeriods(runs: readonly RunBrief[], period: Period, count: number, timeZone: string): RunBrief[] {
  const nameOf = periodNamer(period, timeZone);
  const byPeriod = new Map<string, { run: RunBrief; startMs: number }>();
  for (const run of runs) {
    const startMs = Date.parse(run.startedAt);
    const name = nameOf(startMs);
    const best = byPeriod.get(name);
    const isBetter =
      best === undefined ||
      (run.status === "done" && best.run.status !== "done") ||
      (run.status === best.run.status && startMs > best.startMs);
    if (isBetter) byPeriod.set(name, { run, startMs });
  }
  return [...byPeriod.values()]
    .sort((a, b) => b.startMs - a.startMs)
    .slice(0, count)
    .map(({ run }) => run);
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** Names the period of a moment; two moments of one period get one name. */
function periodNamer(period: Period, timeZone: string): (ms: number) => string {
  const format = new Intl.DateTimeFormat("en-CA", {
    ...{ timeZone, calendar: "iso8601", numberingSystem: "latn", hourCycle: "h23" },
    ...{ year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" },
  });
  return (ms) => {
    const parts = new Map(format.formatToParts(ms).map(({ type, value }) => [type, value]));
    const [year = "", month = "", day = ""] = [parts.get("year"), parts.get("month"), parts.get("day")];
    if (period === "yearly") return year;
    if (period === "monthly") return `${year}-${month}`;
    const midnight = Date.UTC(Number(year), Number(month) - 1, Number(day));
    if (period === "daily") return `${year}-${month}-${day}`;
    // Weeks begin on Monday; 1970-01-01 was a Thursday.
    if (period === "weekly") return `week ${Math.floor((midnight / dayMs + 3) / 7)}`;
    const local = midnight + Number(parts.get("hour")) * hourMs;
    // The hour that comes twice when clocks go back is two hours: they differ in their distance from UTC.
    const sinceHour = Number(parts.get("minute")) * 60_000 + Number(parts.get("second")) * 1000;
    return `${year}-${month}-${day} ${parts.get("hour") ?? ""} ${Math.round((local + sinceHour - ms) / 60_000)}`;
  };
}
