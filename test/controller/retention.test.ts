import { expect } from "chai";
import fc from "fast-check";
import { decideRetention, type Retention } from "../../controller/retention.ts";
import type { RunBrief } from "../../shared/repository/upkeep/chain-survey.ts";

const digest = "0".repeat(64);

/** Newest last; their times, and statuses other than done. */
function runsAt(times: readonly string[], statuses: Record<number, RunBrief["status"]> = {}): RunBrief[] {
  return times
    .map((startedAt, at) => ({
      ...{ id: `run${at}`, sequence: at + 1, digest, previousDigest: digest, startedAt },
      ...{ status: statuses[at] ?? ("done" as const), hasRaft: true },
    }))
    .reverse();
}

/** Times of the kept, oldest first. */
function kept(runs: readonly RunBrief[], retention: Retention, now: string, timeZone = "UTC"): string[] {
  return decideRetention(runs, retention, Date.parse(now), timeZone)
    .filter(({ keptFor }) => keptFor.length > 0)
    .map(({ run }) => run.startedAt)
    .reverse();
}

describe("retention", () => {
  it("keeps every run where the policy names no count", () => {
    const runs = runsAt(["2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]);
    expect(kept(runs, {}, "2026-02-01T00:00:00Z")).to.have.length(2);
  });

  it("keeps the newest good run of each period, and counts only periods that have one", () => {
    const times = ["2026-03-01T03:00:00Z", "2026-03-01T21:00:00Z", "2026-03-05T03:00:00Z", "2026-03-09T03:00:00Z"];
    expect(kept(runsAt(times), { daily: 2 }, "2026-12-01T00:00:00Z")).to.deep.equal(times.slice(2));
    expect(kept(runsAt(times), { daily: 3 }, "2026-12-01T00:00:00Z")).to.deep.equal(times.slice(1));
    expect(kept(runsAt(times), { weekly: 2 }, "2026-12-01T00:00:00Z")).to.deep.equal([times[2], times[3]]);
    expect(kept(runsAt(times), { yearly: 5, last: 2 }, "2026-12-01T00:00:00Z")).to.deep.equal(times.slice(2));
  });

  it("takes a done run before a newer partial one of its period, and a failed one for none", () => {
    const times = ["2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z", "2026-03-02T01:00:00Z", "2026-03-03T01:00:00Z"];
    const runs = runsAt(times, { 1: "partial", 2: "failed" });
    expect(kept(runs, { daily: 10 }, "2026-12-01T00:00:00Z")).to.deep.equal([times[0], times[3]]);
  });

  it("follows the days of the time zone, also when clocks change", () => {
    // Clocks in Zurich go forward on 29 March 2026 and back on 25 October: days of 23 and 25 hours.
    const spring = ["2026-03-28T22:30:00Z", "2026-03-28T23:30:00Z", "2026-03-29T21:30:00Z", "2026-03-29T22:30:00Z"];
    expect(kept(runsAt(spring), { daily: 9 }, "2026-12-01T00:00:00Z", "Europe/Zurich")).to.deep.equal([
      spring[0],
      spring[2],
      spring[3],
    ]);
    // 00:30Z is 02:30 in summer time, 01:30Z is 02:30 once more.
    const autumn = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T01:40:00Z"];
    expect(kept(runsAt(autumn), { hourly: 9 }, "2026-12-01T00:00:00Z", "Europe/Zurich")).to.deep.equal([
      autumn[0],
      autumn[2],
    ]);
    expect(kept(runsAt(autumn), { daily: 9 }, "2026-12-01T00:00:00Z", "Europe/Zurich")).to.deep.equal([autumn[2]]);
  });

  it("parts half-hour zones' hours where their own clock strikes", () => {
    const times = ["2026-03-01T00:10:00Z", "2026-03-01T00:40:00Z"];
    expect(kept(runsAt(times), { hourly: 9 }, "2026-12-01T00:00:00Z", "Asia/Kolkata")).to.deep.equal(times);
    expect(kept(runsAt(times), { hourly: 9 }, "2026-12-01T00:00:00Z")).to.deep.equal([times[1]]);
  });

  it("keeps what a clock dated in the future, and gives it no period's place", () => {
    const times = ["2026-03-01T01:00:00Z", "2031-03-01T01:00:00Z", "2026-03-02T01:00:00Z", "2026-03-03T01:00:00Z"];
    expect(kept(runsAt(times), { yearly: 1 }, "2026-03-04T00:00:00Z")).to.deep.equal([times[1], times[3]]);
  });

  it("counts the last ones by the chain, though a clock was set back", () => {
    const times = ["2026-03-01T01:00:00Z", "2026-03-02T01:00:00Z", "1970-01-01T00:00:10Z"];
    expect(kept(runsAt(times), { last: 2 }, "2026-03-04T00:00:00Z")).to.deep.equal(times.slice(1));
  });

  it("never gives up the newest run, the last good one, or the newest Raft state", () => {
    const status = fc.constantFrom("done" as const, "partial" as const, "failed" as const);
    const run = fc.record({ startMs: fc.integer({ min: 0, max: 2e12 }), status, hasRaft: fc.boolean() });
    const count = fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined });
    const counts = fc.record({
      last: count,
      hourly: count,
      daily: count,
      weekly: count,
      monthly: count,
      yearly: count,
    });
    fc.assert(
      fc.property(
        fc.array(run, { minLength: 1, maxLength: 30 }),
        counts,
        fc.integer({ max: 2e12 }),
        (some, given, now) => {
          const runs = some.map(({ startMs, ...rest }, at) => ({
            ...{ id: `run${at}`, sequence: 100 - at, digest, previousDigest: digest, ...rest },
            startedAt: new Date(startMs).toISOString(),
          }));
          const retention = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
          const left = decideRetention(runs, retention, now, "America/New_York")
            .filter(({ keptFor }) => keptFor.length > 0)
            .map(({ run: each }) => each);
          const lastGood =
            runs.find((each) => each.status === "done") ?? runs.find((each) => each.status === "partial");
          expect(left).to.include(runs[0]);
          if (lastGood !== undefined) expect(left).to.include(lastGood);
          const raft = runs.find(({ hasRaft }) => hasRaft);
          if (raft !== undefined) expect(left).to.include(raft);
          if (retention["last"] !== undefined) expect(left).to.include.members(runs.slice(0, retention["last"]));
        },
      ),
    );
  });
});
