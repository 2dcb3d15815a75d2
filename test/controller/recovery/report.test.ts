import { expect } from "chai";
import {
  resultIn,
  type JournalEvent,
  type JournalHead,
  type StepResult,
} from "../../../controller/recovery/journal.ts";
import type { PlannedDump } from "../../../controller/recovery/planned-dumps.ts";
import type { LeftOutVolume } from "../../../controller/recovery/planned-volumes.ts";
import type { RecoveryPlan } from "../../../controller/recovery/recovery-plan.ts";
import type { Probe } from "../../../controller/recovery/probe/probes.ts";
import { reportRecovery, type RecoveryReport } from "../../../controller/recovery/report.ts";
import { renderReport } from "../../../controller/recovery/report-text.ts";
import { volumeSources } from "../../../controller/recovery/volume-sources.ts";
import { runOf, volumePart } from "./plan-input.ts";

const at = "2026-11-27T03:00:00.000Z";
const load = { argv: ["load"], container: null, user: null };
const sources = volumeSources(
  runOf("r1", [volumePart("a", "rows", 10, { kind: "dump", load }), volumePart("a", "share", 10)]),
  [],
);
const [rows, share] = sources;

function reportOf(
  result: StepResult | null,
  leftOut: Partial<LeftOutVolume>[],
  probes: readonly Probe[] = [],
): RecoveryReport {
  const plan = {
    ...{ mode: "raft", runId: "r1", takenAt: at, gone: [], volumes: [], images: [], services: [], waves: [], own: [] },
    ...{ renamed: new Map(), steps: [], rotatable: [], rotations: [], secrets: ["password"] },
    machines: [{ name: "m1", advertise: "192.0.2.1", role: "manager", replaces: [], facts: { hostname: "host-m1" } }],
    dumps: [{ source: rows, machine: "m1", service: "db" } as PlannedDump],
    leftOut: leftOut.map((one) => ({
      ...{ id: "a/share", source: share, machine: "m1", why: "a share", mayLoad: false, ...one },
    })),
  } as unknown as RecoveryPlan;
  const events: JournalEvent[] =
    result === null
      ? []
      : [{ at, step: "load:m1:a/rows", event: "done", result: { machine: "m1", mayBeLoaded: false, ...result } }];
  events.push({ at, step: "probe", event: "done", result: { probes } });
  const head = { recoveryId: "abcabcabcabc", mode: "raft", startedAt: at } as JournalHead;
  return reportRecovery(plan, { head, events, resultOf: (step) => resultIn(events, step) });
}

describe("the report of a recovery", () => {
  it("is partial where something does not answer, names it, and calls nothing passed that nobody could ask", () => {
    const at = { kind: "port", machine: "m1" } as const;
    const skipped = { ...at, subject: "web 80/tcp", state: "skipped", detail: "no IPVS" } as const;
    const answers = { ...at, subject: "api 8420/tcp", state: "answers", detail: "asked" } as const;
    const failed = { ...at, subject: "shop 81/tcp", state: "failed", detail: "connection refused" } as const;
    const whole = reportOf({ loaded: true, detail: "db.1.x" }, [], [skipped, { ...skipped, machine: "m2" }, answers]);
    expect(whole.outcome).to.equal("complete");
    expect(renderReport(whole))
      .to.contain("| port web 80/tcp | m1, m2 | skipped | no IPVS |")
      .and.contain("| port api 8420/tcp | m1 | answers |  |")
      .and.contain("- connect once to what could not be probed: web 80/tcp");
    const partial = reportOf({ loaded: true, detail: "db.1.x" }, [], [failed, answers]);
    expect(partial.outcome).to.equal("partial");
    expect(renderReport(partial))
      .to.contain("| port shop 81/tcp | m1 | failed | connection refused |")
      .and.contain("- shop 81/tcp did not answer");
  });

  it("is complete where the dump was loaded, and what stayed out was left out by its operator", () => {
    const report = reportOf({ loaded: true, detail: "db.1.x" }, [{ asked: true }]);
    expect(report.outcome).to.equal("complete");
    expect(renderReport(report)).to.contain("into db.1.x").and.contain("a/share, on m1: a share");
  });

  it("is partial where data did not come back, and has the command that brings it", () => {
    const failed = reportOf({ loaded: false, detail: "load ended with 1" }, []);
    expect(failed.outcome).to.equal("partial");
    expect(renderReport(failed)).to.contain("`skep restore volume a/rows --run r1 --to-node host-m1 --identity FILE`");
    const shared = reportOf({ loaded: true, detail: "db.1.x" }, [{ asked: false }]);
    expect(shared.outcome).to.equal("partial");
    expect(shared.leftOut[0]?.command).to.contain("a/share --run r1 --as share-of-run --to-node host-m1");
    const homeless = reportOf({ loaded: true, detail: "db.1.x" }, [
      { machine: null, why: "its node is gone", asked: false },
    ]);
    expect(homeless.outcome).to.equal("partial");
    expect(renderReport(homeless))
      .to.contain("a/share, on no machine: its node is gone")
      .and.contain("--to-node NODE ");
    const torn = reportOf({ loaded: false, mayBeLoaded: true, detail: "the connection was lost" }, []);
    expect(torn.leftOut[0]?.why).to.contain("may be loaded").and.contain("look there before");
    expect(renderReport(torn)).to.contain("perhaps: the connection was lost");
    const [behind, alone] = [false, true].map((mayLoad) =>
      reportOf({ loaded: true, detail: "db.1.x" }, [{ source: rows ?? null, asked: false, mayLoad }]),
    );
    expect(behind?.leftOut[0]?.command, "beside what was loaded").to.contain("--as rows-of-run");
    expect(alone?.leftOut[0]?.command).to.not.contain("--as");
    expect(reportOf(null, []).leftOut[0]?.why).to.contain("not loaded");
  });

  it("says which secrets have old values again, and nothing of a rollback to a held state", () => {
    const { next } = reportOf({ loaded: true, detail: "db.1.x" }, []);
    expect(next.join("\n"))
      .to.match(/rotate once more .*password/)
      .and.contain("docker service rollback changes nothing");
  });
});
