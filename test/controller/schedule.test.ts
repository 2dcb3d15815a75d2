import { expect } from "chai";
import fc from "fast-check";
import type { Schedule } from "../../controller/policy.ts";
import { dueJobId, dueRuns, lastDue, nextStart } from "../../controller/schedule.ts";

const nightly: Schedule = { name: "nightly", cron: "0 3 * * *", timeZone: "Europe/Zurich", jitterSeconds: 0 };
const at = (time: string): number => Date.parse(time);
const due = (schedule: Schedule, begun: string | null, now: string) =>
  dueRuns({ schedules: [schedule] }, new Map(begun === null ? [] : [[schedule.name, at(begun)]]), at(now));

describe("a schedule", () => {
  it("is due from its minute on, until a run of it has begun", () => {
    expect(due(nightly, "2026-11-20T02:00:00Z", "2026-11-21T01:59:59.999Z")).to.deep.equal([]);
    const now = [{ schedule: "nightly", dueAt: "2026-11-21T02:00:00.000Z", missed: false }];
    expect(due(nightly, "2026-11-20T02:00:00Z", "2026-11-21T02:00:00.000Z")).to.deep.equal(now);
    expect(due(nightly, "2026-11-20T02:00:00Z", "2026-11-21T02:00:30.500Z")).to.deep.equal(now);
    expect(due(nightly, "2026-11-21T02:00:00Z", "2026-11-21T02:00:30.500Z")).to.deep.equal([]);
  });

  it("makes up for missed times once, and says so", () => {
    expect(due(nightly, "2026-11-15T02:00:00Z", "2026-11-21T09:30:00Z")).to.deep.equal([
      { schedule: "nightly", dueAt: "2026-11-21T02:00:00.000Z", missed: true },
    ]);
  });

  it("has missed nothing from before it was first seen", () => {
    expect(due(nightly, "2026-11-21T09:00:00Z", "2026-11-21T09:30:00Z")).to.deep.equal([]);
    expect(due(nightly, null, "2026-11-21T09:30:00Z")).to.deep.equal([]);
  });

  it("follows its own time zone over a change of clocks, once a day", () => {
    const half = { ...nightly, cron: "30 2 * * *" };
    const days = ["2026-03-28", "2026-03-29", "2026-03-30", "2026-10-24", "2026-10-25", "2026-10-26"];
    expect(days.map((day) => new Date(lastDue(half, at(`${day}T12:00:00Z`)) ?? 0).toISOString())).to.deep.equal([
      "2026-03-28T01:30:00.000Z",
      "2026-03-29T01:00:00.000Z",
      "2026-03-30T00:30:00.000Z",
      "2026-10-24T00:30:00.000Z",
      "2026-10-25T00:30:00.000Z",
      "2026-10-26T01:30:00.000Z",
    ]);
  });

  it("starts within its jitter, at the same moment whoever asks", () => {
    const jittered = { ...nightly, jitterSeconds: 600 };
    const start = nextStart(jittered, at("2026-11-21T01:00:00Z")) ?? 0;
    expect(start).to.be.within(at("2026-11-21T02:00:00Z"), at("2026-11-21T02:10:00Z"));
    expect(nextStart(jittered, at("2026-11-21T02:00:00Z"))).to.equal(start);
    const begun = "2026-11-20T02:00:00Z";
    expect(due(jittered, begun, new Date(start - 1).toISOString())).to.deep.equal([]);
    expect(due(jittered, begun, new Date(start).toISOString())).to.have.length(1);
  });

  it("names each due minute in the queue by itself", () => {
    const [run] = due(nightly, "2026-11-20T02:00:00Z", "2026-11-21T02:00:00Z");
    if (run === undefined) throw new Error("nothing is due");
    expect(dueJobId(run)).to.equal("due-nightly-202611210200");
  });

  it("is due exactly once for each time that comes, however time is looked at", () => {
    const hourly = { ...nightly, cron: "0 * * * *", timeZone: "UTC", jitterSeconds: 120 };
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1_200_000 }), { minLength: 20, maxLength: 60 }), (steps) => {
        let now = at("2026-11-21T00:30:00Z");
        const begun = new Map([["nightly", now]]);
        const started: string[] = [];
        for (const step of steps) {
          now += step;
          for (const run of dueRuns({ schedules: [hourly] }, begun, now)) {
            started.push(run.dueAt);
            begun.set(run.schedule, now);
          }
        }
        expect(new Set(started).size).to.equal(started.length);
        const whole = Math.floor((now - 120_000 - at("2026-11-21T00:00:00Z")) / 3_600_000);
        // Looked at in steps below 20 minutes, no hour is missed.
        expect(started.length).to.be.at.least(whole);
      }),
    );
  });
});
