import { expect } from "chai";
import { mayMeet, renameConstraint } from "../../../controller/recovery/placement.ts";

describe("a constraint", () => {
  it("is rewritten in its ids and hostnames and nothing else", () => {
    const renaming = { ids: new Map([["old1", "new1"]]), hostnames: new Map([["a", "host-a"]]) };
    expect(renameConstraint("node.id == old1", renaming)).to.equal("node.id == new1");
    expect(renameConstraint("node.hostname!=a", renaming)).to.equal("node.hostname!=host-a");
    for (const text of ["node.hostname==b", "node.labels.old1==a", "node.role == manager", "nonsense"]) {
      expect(renameConstraint(text, renaming)).to.equal(text);
    }
    const place = { id: "new1", hostname: "host-a", role: "manager", labels: { zone: "b" } };
    expect(mayMeet(place, ["node.role==manager", "node.labels.zone != a", "engine.labels.x==1"])).to.be.true;
    expect(mayMeet(place, ["node.labels.zone==a"])).to.be.false;
  });
});
