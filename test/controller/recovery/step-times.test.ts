import { expect } from "chai";
import { planMs, stepMs } from "../../../controller/recovery/step-times.ts";
import type { PlannedStep } from "../../../controller/recovery/steps.ts";

const step = (id: string, after: string[], more: Partial<PlannedStep> = {}): PlannedStep => ({
  ...{ id, phase: "volumes", title: id, after },
  ...more,
});

describe("how long a recovery is said to take", () => {
  it("is the longest way through its steps: at the same time, but for those of one lane", () => {
    const large = { sizeBytes: 400_000_000 };
    const [a, b] = [step("a", [], { lane: "m1", ...large }), step("b", [], { lane: "m2" })];
    expect(stepMs(a)).to.equal(stepMs(b) + 10_000);
    expect(planMs([a, b])).to.equal(stepMs(a));
    const same = step("c", [], { lane: "m1" });
    expect(planMs([a, same])).to.equal(stepMs(a) + stepMs(same));
    const last = step("d", ["a", "b"], { phase: "swarm" });
    expect(planMs([a, b, last])).to.equal(stepMs(a) + stepMs(last));
    expect(planMs([])).to.equal(0);
  });
});
