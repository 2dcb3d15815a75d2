import { expect } from "chai";
import { runNode, SwarmOfFakes, written } from "./swarm-of-fakes.ts";

describe("a run with volumes that are to be quiet", function () {
  this.timeout(60_000);
  let swarm: SwarmOfFakes;
  beforeEach(async () => {
    swarm = await SwarmOfFakes.make();
  });
  afterEach(() => swarm.remove());

  const volumes = [{ match: "p*", group: "pair", quiesce: "pause" }];

  it("pauses a group on all of its nodes before it reads any of it, and lets it go once afterwards", async () => {
    const nodes = [runNode("m1"), runNode("n2")];
    await swarm.agent("m1", nodes, ["p1", "other"], { pause: { sleepMs: 300 } });
    await swarm.agent("n2", nodes, ["p2"], { "volume:p2": { sleepMs: 500 } });
    const controller = await swarm.controller({ volumes }, ["m1", "n2"]);
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(run.status).to.equal("done");
    const accepted = await swarm.accepted();
    const at = (what: string): number => accepted.indexOf(what);
    for (const pause of ["m1 pause", "n2 pause"]) {
      for (const volume of ["m1 volume:p1", "n2 volume:p2"]) expect(at(pause)).to.be.within(0, at(volume) - 1);
    }
    for (const unpause of ["m1 unpause", "n2 unpause"]) {
      for (const volume of ["m1 volume:p1", "n2 volume:p2"]) expect(at(unpause)).to.be.above(at(volume));
    }
    expect(accepted.filter((line) => /pause/.test(line))).to.have.length(4);
    for (const name of ["m1/p1", "n2/p2"]) {
      const { quiet } = run.parts.find((part) => part.name === name) ?? expect.fail(name);
      expect(quiet?.map((each) => each.name).sort()).to.deep.equal(["at-m1", "at-n2"]);
    }
    expect(run.parts.find(({ name }) => name === "m1/other")?.quiet).to.equal(undefined);
  });

  it("is partial where a node could not be paused: its volumes are taken all the same, and all is let go", async () => {
    const nodes = [runNode("m1"), runNode("n2")];
    await swarm.agent("m1", nodes, ["p1"], { pause: { fails: "lasting" } });
    await swarm.agent("n2", nodes, ["p2"]);
    const controller = await swarm.controller({ volumes }, ["m1", "n2"]);
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(run.status).to.equal("partial");
    const parts = run.parts.filter(({ kind }) => kind === "volume");
    expect(parts.map(({ status, error }) => `${status} ${error?.code ?? ""}`)).to.deep.equal(
      Array(2).fill("partial SKEP_TEST_FAILS"),
    );
    expect((await swarm.accepted()).filter((line) => line.endsWith(" unpause")).sort()).to.deep.equal([
      "m1 unpause",
      "n2 unpause",
    ]);
  });

  it("goes on with another controller that finds it half-way, and pauses nothing twice", async () => {
    const nodes = [runNode("m1")];
    await swarm.agent("m1", nodes, ["p1", "p2"], { pause: { sleepMs: 800 } });
    const first = await swarm.controller({ volumes }, ["m1"]);
    const runId = await first.runs.command(null, Date.now());
    while (!(await swarm.accepted()).includes("m1 pause")) await new Promise((resolve) => setTimeout(resolve, 20));
    await first.end(0);
    const second = await swarm.controller({ volumes }, ["m1"]);
    const run = await written(second, runId, 40_000);
    expect(run.status).to.equal("done");
    expect((await swarm.accepted()).filter((line) => /pause/.test(line))).to.deep.equal(["m1 pause", "m1 unpause"]);
  });
});
