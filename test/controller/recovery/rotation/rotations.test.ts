import { expect } from "chai";
import { reportRecovery } from "../../../../controller/recovery/report.ts";
import { renderReport } from "../../../../controller/recovery/report-text.ts";
import type { JournalHead } from "../../../../controller/recovery/journal.ts";
import type { RecoveryPlan } from "../../../../controller/recovery/recovery-plan.ts";
import { codes, oldNode, planOf } from "../plan-input.ts";

const view = {
  ...{ clusterId: "cluster", nodes: [oldNode("a"), oldNode("b", "worker")], services: [], networks: [] },
  ...{ dataPathPort: 4789, locked: true },
};
const all = ["ca", "unlock-key", "tokens"] as const;
const rotating = ({ steps }: RecoveryPlan): [string, readonly string[]][] =>
  steps.filter(({ phase }) => phase === "rotate").map(({ id, after }) => [id, after]);
const next = (plan: RecoveryPlan, rotated = true): string => {
  const head = { recoveryId: "abcabcabcabc", mode: plan.mode, startedAt: plan.takenAt } as JournalHead;
  return renderReport(reportRecovery(plan, { head, events: [], resultOf: () => ({ rotated }) }));
};

describe("what a plan rotates", () => {
  it("is what was asked for, one after the other, once all was compared and probed", () => {
    expect(rotating(planOf({ input: { view, rotate: all } }))).to.deep.equal([
      ["rotate:tokens", ["probe", "clean:m1", "clean:m2"]],
      ["rotate:ca", ["rotate:tokens"]],
      ["rotate:unlock-key", ["rotate:ca"]],
    ]);
    const ca = rotating(planOf({ input: { view, rotate: ["ca"] } }));
    expect(ca).to.deep.equal([["rotate:ca", ["probe", "clean:m1", "clean:m2"]]]);
    expect(rotating(planOf({ input: { view } }))).to.deep.equal([]);
  });

  it("is what was begun, though it is not asked for again; the CA, which waits for nodes, may be dropped", () => {
    const begunSteps = new Map([
      ["rotate:tokens", "done"],
      ["rotate:ca", "failed"],
      ["rotate:unlock-key", "started"],
    ] as const);
    const ids = (plan: RecoveryPlan): string[] => rotating(plan).map(([id]) => id);
    expect(ids(planOf({ input: { view, begunSteps } }))).to.deep.equal(["rotate:tokens", "rotate:unlock-key"]);
    const done = new Map([["rotate:ca", "done"]] as const);
    expect(ids(planOf({ input: { view, begunSteps: done } }))).to.deep.equal(["rotate:ca"]);
  });

  it("is no unlock key where the swarm has none, and no CA that is another's", () => {
    const open = planOf({ input: { view: { ...view, locked: false }, rotate: all } });
    expect(rotating(open).map(([id]) => id)).to.deep.equal(["rotate:tokens", "rotate:ca"]);
    expect(codes(open, "note")).to.include("rotate-unlocked");
    const external = { ...view, externalCas: ["https://ca.example"] };
    expect(codes(planOf({ input: { view: external, rotate: all } }))).to.deep.equal(["rotate-external-ca"]);
    expect(codes(planOf({ input: { view: external, rotate: ["tokens"] } }))).to.deep.equal([]);
  });

  it("is said in the report, which shows how to do the rest", () => {
    const some = next(planOf({ input: { view, rotate: ["tokens", "unlock-key"] } }));
    expect(some).to.contain("## Rotated").and.contain("docker swarm ca --rotate").and.contain("unlock-key beside this");
    expect(some).to.not.contain("join-token --rotate");
    // Of a swarm that was unlocked since.
    expect(next(planOf({ input: { view, rotate: ["unlock-key"] } }), false)).to.not.contain("unlock-key beside this");
    const none = next(planOf({ input: { view } }));
    expect(none).to.not.contain("## Rotated");
    expect(none).to.contain("join-token --rotate").and.contain("unlock-key --rotate");
    expect(none).to.contain("on a manager: docker swarm ca --rotate\n");
    const others = { ...view, locked: false, externalCas: ["https://ca.example"] };
    const tokensAlone = next(planOf({ input: { view: others } }));
    expect(tokensAlone).to.contain("join-token --rotate").and.not.contain("unlock-key --rotate");
    expect(tokensAlone).to.not.contain("ca --rotate");
  });
});
