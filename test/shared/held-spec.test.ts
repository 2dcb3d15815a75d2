import { expect } from "chai";
import fc from "fast-check";
import { heldConstraint, heldForm, heldSpec, looksHeld, withoutHold } from "../../shared/held-spec.ts";

const replicated = fc.record({ Replicated: fc.record({ Replicas: fc.integer({ min: 1, max: 1000 }) }) });
const modes = fc.oneof(
  replicated,
  fc.constantFrom({ Global: {} }, { ReplicatedJob: { MaxConcurrent: 1 } }, { GlobalJob: {} }),
);
const specs = fc.record({
  Name: fc.string(),
  Mode: modes,
  TaskTemplate: fc.record({ Placement: fc.record({ Constraints: fc.array(fc.string(), { maxLength: 3 }) }) }),
});

describe("the form of a held service", () => {
  it("starts nothing, and is the former spec again without what held it, of whatever mode and placement", () => {
    fc.assert(
      fc.property(specs, (spec) => {
        const held = heldForm(spec);
        expect(looksHeld(held, spec)).to.equal(true);
        expect(looksHeld(spec, spec)).to.equal(false);
        expect(withoutHold(held, spec)).to.deep.equal(spec);
        expect(withoutHold(spec, spec)).to.equal(null);
      }),
    );
  });

  it("is none for a job that is there, and leaves out no constraint of its owner's", () => {
    const TaskTemplate = { Placement: { Constraints: ["node.role==worker"] } };
    expect(heldSpec({ Mode: { ReplicatedJob: {} }, TaskTemplate })).to.equal(null);
    expect(heldSpec({ Mode: { Global: {} }, TaskTemplate })?.TaskTemplate.Placement.Constraints).to.deep.equal([
      "node.role==worker",
      heldConstraint,
    ]);
  });
});
