import { expect } from "chai";
import { Lab } from "../lab/lab.ts";

describe("the lab", () => {
  let lab: Lab;

  before(async () => {
    lab = await Lab.up({ nodes: 2, managers: 1 });
  });
  after(async () => {
    await lab.down();
  });

  it("is a swarm of machines with engines of their own", async () => {
    const listed = await lab.node("node1").docker.listNodes();
    const names = listed.map((node) => (node as { Description: { Hostname: string } }).Description.Hostname);
    expect(names.sort()).to.deep.equal(["node1", "node2"]);
  });
});
