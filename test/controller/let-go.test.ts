import { expect } from "chai";
import { letGoOf } from "../../controller/let-go.ts";
import type { QuietUnit, UnitNode } from "../../controller/quiet-units.ts";
import type { Task } from "../../shared/contract/job.ts";
import type { Signed } from "../../shared/repository/signature.ts";

const hook = {
  volume: "data",
  argv: ["true"],
  container: null,
  user: null,
  timeoutSeconds: 60,
  onError: "fail" as const,
};
const node = (nodeId: string, more: Partial<UnitNode>): UnitNode => ({
  ...{ nodeId, pauseId: `p-${nodeId}`, unpauseId: `u-${nodeId}`, afterId: null },
  ...{ volumes: ["data"], stops: [], before: [hook], after: [hook], moments: [], ...more },
});
const unit = (id: string, more: Partial<QuietUnit>): QuietUnit => ({
  ...{ id, members: [], nodes: [], hold: null, watches: [], ...more },
});

describe("what a lost run had made quiet", () => {
  const stagesOf = async (units: QuietUnit[]): Promise<{ nodeId: string | null; task: Task }[][]> => {
    let stages: { nodeId: string | null; task: Task }[][] = [];
    const queue = { openFlow: (_kind: string, id: string) => Promise.resolve(id) };
    const sign = (order: unknown): Signed => {
      ({ stages } = order as { stages: typeof stages });
      return { payload: "", signature: "" };
    };
    await letGoOf("20261127T030000Z-abcdefgh", units, { queue, repository: { sign }, now: Date.now() });
    return stages;
  };
  const words = ({ nodeId, task }: { nodeId: string | null; task: Task }): string =>
    `${nodeId ?? "managers"} ${task.kind}${task.kind === "unpause" ? `, ${task.after.length} after` : ""}`;

  it("goes on with all of its hooks, though its controller may not have begun it: agents know what ran", async () => {
    const hold = { holdId: "h", releaseId: "r", serviceIds: ["web"] };
    const stages = await stagesOf([
      unit("aaaaaaaaaaaa", { nodes: [node("n1", {}), node("n2", {})] }),
      unit("bbbbbbbbbbbb", { nodes: [node("n3", { afterId: "a-n3" })], hold }),
    ]);
    expect(stages.map((steps) => steps.map(words).sort())).to.deep.equal([
      ["managers release", "n1 unpause, 1 after", "n2 unpause, 1 after", "n3 unpause, 0 after"],
      ["n3 unpause, 1 after"],
    ]);
    expect(stages[0]?.[0]?.task, "a hold in the making ends too").to.include({ kind: "release", forGood: true });
  });

  it("is nothing where nothing was to be quiet", async () => {
    expect(await stagesOf([])).to.deep.equal([]);
  });
});
