import { expect } from "chai";
import { Agents } from "../../controller/agents.ts";
import type { Heartbeat } from "../../shared/contract/queues.ts";

describe("the agents that a controller knows", () => {
  it("wait for nobody of before a recovery, and take one that survived as soon as it is heard", () => {
    const agents = new Agents(1_000);
    agents.expect("new", "node5");
    agents.remember("survivor", "node1");
    agents.remember("burned", "node2");
    expect(agents.nodeIds).to.have.members(["new", "survivor", "burned"]);
    agents.listen(new Map(), 1_000);
    expect(agents.presences().map(({ nodeId }) => nodeId)).to.deep.equal(["new"]);
    expect(agents.silentMs("survivor")).to.equal(Infinity);
    const heartbeat: Heartbeat = {
      ...{ nodeId: "survivor", hostname: "node1", role: "manager", leader: true, problems: [] },
      ...{ skepVersion: "0.1.0", engineVersion: "20.10.24", at: "2026-11-27T03:00:00.000Z" },
    };
    agents.listen(new Map([["survivor", heartbeat]]), 2_000);
    expect(agents.presences().map(({ nodeId }) => nodeId)).to.deep.equal(["new", "survivor"]);
    expect(agents.last("survivor")).to.deep.equal({ heartbeat, heardAt: 2_000 });
    agents.listen(new Map(), 3_000);
    expect(agents.silentMs("survivor")).to.equal(1_000);
    expect(agents.nodeIds).to.have.members(["new", "survivor", "burned"]);
  });

  it("expect one that enrolled anew, heard or not", () => {
    const agents = new Agents(1_000);
    agents.remember("one", "node1");
    agents.expect("one", "node1");
    expect(agents.nodeIds).to.deep.equal(["one"]);
    expect(agents.silentMs("one")).to.equal(0);
  });
});
