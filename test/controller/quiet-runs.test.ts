import { expect } from "chai";
import { Redis } from "ioredis";
import type { Run, RunNode } from "../../shared/repository/run.ts";
import { runNode, SwarmOfFakes, until, written } from "./swarm-of-fakes.ts";

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

  describe("which nodes share", () => {
    const shared: [string, string][] = [["p1", "nfs:10.0.0.9:/media"]];
    const runOf = async (broken: { volume: string; why: string }[], nodes: RunNode[]): Promise<Run> => {
      await swarm.agent("m1", nodes, shared);
      await swarm.agent("n2", nodes, shared, {}, { broken });
      const controller = await swarm.controller({ volumes }, ["m1", "n2"]);
      return written(controller, await controller.runs.command(null, Date.now()));
    };
    const partOf = (run: Run): Run["parts"][number] | undefined => run.parts.find(({ name }) => name === "m1/p1");

    it("is quiet on all of them, and each that does not read it says so before anything goes on", async () => {
      const run = await runOf([], [runNode("m1"), runNode("n2")]);
      expect(partOf(run)).to.include({ status: "done", consistency: "quiet" });
      const order = (await swarm.accepted()).slice(-7);
      expect(order.slice(0, 2).sort()).to.deep.equal(["m1 pause", "n2 pause"]);
      expect(order.slice(2, 5)).to.deep.equal(["n2 watch", "m1 volume:p1", "n2 prove"]);
      expect(order.slice(5).sort()).to.deep.equal(["m1 unpause", "n2 unpause"]);
    });

    it("is not called quiet where one saw it used", async () => {
      const run = await runOf([{ volume: "p1", why: "container db began to use it" }], [runNode("m1"), runNode("n2")]);
      expect(partOf(run)).to.include({ status: "partial", consistency: "not-atomic" });
      expect(partOf(run)?.error).to.include({ code: "SKEP_QUIET_BROKEN" });
      expect(partOf(run)?.error?.message).to.contain("container db began to use it, on n2");
    });

    it("is not called quiet where one was not asked", async () => {
      const run = await runOf([], [runNode("m1"), runNode("n2"), runNode("n3", "down")]);
      expect(partOf(run)).to.include({ status: "partial", consistency: "not-atomic" });
      expect(partOf(run)?.error?.message).to.contain("on n3");
    });
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

  it("lets go at once what it had made quiet when Redis lost it", async () => {
    await swarm.agent("m1", [runNode("m1")], ["p1"], { "volume:p1": { sleepMs: 1500 } });
    const controller = await swarm.controller({ volumes }, ["m1"]);
    const lost = await controller.runs.command(null, Date.now());
    await until("the volume is read", async () => (await swarm.accepted()).includes("m1 volume:p1"));
    const redis = new Redis(await swarm.redis.address());
    await redis.flushall();
    redis.disconnect();
    await until("it is let go", async () => (await swarm.accepted()).includes("m1 unpause"));
    const anew = await until("it is begun anew", () => {
      const id = controller.runs.inPlaceOf(lost);
      return Promise.resolve(id !== lost && id);
    });
    expect((await written(controller, anew)).status).to.equal("done");
    expect((await swarm.accepted()).filter((line) => /pause/.test(line))).to.have.length(4);
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
