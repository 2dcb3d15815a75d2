import { expect } from "chai";
import type { JournalEvent, JournalHead, StepResult } from "../../../../controller/recovery/journal.ts";
import { resultIn } from "../../../../controller/recovery/journal.ts";
import type { RecoveryPlan } from "../../../../controller/recovery/recovery-plan.ts";
import { reportRecovery, type RecoveryReport } from "../../../../controller/recovery/report.ts";
import { renderReport } from "../../../../controller/recovery/report-text.ts";

const at = "2026-11-27T03:00:00.000Z";
const plan: RecoveryPlan = {
  ...{ mode: "quorum", runId: "r1", takenAt: at, clusterId: "cluster", survivor: null },
  ...{
    machines: [],
    gone: [],
    surviving: [],
    volumes: [],
    dumps: [],
    leftOut: [],
    images: [],
    services: [],
    waves: [],
    own: [],
  },
  ...{
    endedJobs: [],
    renamed: new Map(),
    setUp: [],
    secrets: [],
    rotatable: [],
    rotations: [],
    stateChangedAt: null,
    newerTasks: [],
    findings: [],
    steps: [],
  },
};

function reportOf(nodes: StepResult): RecoveryReport {
  const events: JournalEvent[] = [{ at, step: "nodes", event: "done", result: nodes }];
  const head = { recoveryId: "abcabcabcabc", mode: "quorum", startedAt: at } as JournalHead;
  return reportRecovery(plan, { head, events, resultOf: (step) => resultIn(events, step) });
}

describe("the report of a recovery whose nodes survive", () => {
  it("is complete only once every one of them is back, and names those that are not", () => {
    expect(reportOf({ absent: [] }).outcome).to.equal("complete");
    const partial = reportOf({ absent: ["node4"] });
    expect(partial).to.include({ outcome: "partial" });
    expect(partial.absent).to.deep.equal(["node4"]);
    expect(renderReport(partial)).to.contain("## Nodes that did not come back").and.contain("- node4 survives");
  });
});
