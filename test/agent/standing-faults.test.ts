import { expect } from "chai";
import { StandingFaults } from "../../agent/standing-faults.ts";
import { heartbeatSchema } from "../../shared/contract/queues.ts";
import { SkepError } from "../../shared/errors.ts";

const stuck = (message: string): SkepError =>
  new SkepError({ code: "SKEP_HOLD_STUCK", message, permanent: true, hint: "mend it" });

describe("what an agent can't put right", () => {
  it("stands until a look at the same work finds it no more", () => {
    const faults = new StandingFaults();
    faults.tell("holds", [stuck("hold one")]);
    faults.tell("starts", [new Error("no port")]);
    expect(faults.lines()).to.have.length(2).and.include("hold one (SKEP_HOLD_STUCK); mend it");
    faults.tell("holds", [stuck("hold two")]);
    expect(faults.lines().join()).to.contain("hold two").and.not.contain("hold one");
    faults.tell("holds", []);
    faults.tell("starts", []);
    expect(faults.lines()).to.deep.equal([]);
  });

  it("fits into a heartbeat, however much it is", () => {
    const faults = new StandingFaults();
    faults.tell(
      "holds",
      Array.from({ length: 500 }, () => stuck("x".repeat(5000))),
    );
    const problems = heartbeatSchema.shape.problems.safeParse(faults.lines());
    expect(problems.success).to.equal(true);
  });
});
