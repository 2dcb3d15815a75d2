import { expect } from "chai";
import { concludeProbes, FormerFindings, type Finding } from "../../../../controller/recovery/probe/probes.ts";

const finding = (item: string, outcome: Finding["outcome"], machine = "m1"): Finding => ({
  ...{ kind: "overlay", subject: "inside", machine, item, outcome },
  detail: `${item} is ${outcome}`,
});

describe("what probes come to", () => {
  it("is good for ever once it was good, and bad only where it was so twice, one time after the other", () => {
    const former = new FormerFindings();
    const outcomes = (["bad", "unsure", "bad", "bad", "good", "bad"] as const).map(
      (outcome) => former.judge([finding("a", outcome)])[0]?.outcome,
    );
    expect(outcomes).to.deep.equal(["early", "unsure", "early", "bad", "good", "good"]);
    expect(former.isGood(finding("a", "bad"))).to.be.true;
    expect(former.isGood(finding("a", "bad", "m2"))).to.be.false;
  });

  it("is a row for each thing and machine, what failed first, and never an answer for what nobody could tell", () => {
    const probes = concludeProbes([
      finding("a", "good"),
      finding("b", "unsure"),
      finding("c", "bad"),
      finding("d", "early"),
      finding("e", "unsure", "m2"),
    ]);
    expect(probes.map(({ machine, state, detail }) => [machine, state, detail])).to.deep.equal([
      ["m1", "failed", "c is bad"],
      ["m1", "skipped", "b is unsure; d is early"],
      ["m2", "skipped", "e is unsure"],
      ["m1", "answers", "a is good"],
    ]);
  });

  it("names twenty faults of a row, and counts the rest", () => {
    const [row] = concludeProbes(Array.from({ length: 25 }, (_, at) => finding(`f${at}`, "bad")));
    expect(row?.detail).to.contain("f19 is bad").and.contain("and 5 more").and.not.contain("f20");
  });
});
