import { expect } from "chai";
import { partsOf, runNode, SwarmOfFakes, written } from "./swarm-of-fakes.ts";

describe("what came of a run's jobs", function () {
  this.timeout(60_000);
  let swarm: SwarmOfFakes;
  beforeEach(async () => {
    swarm = await SwarmOfFakes.make();
  });
  afterEach(() => swarm.remove());

  it("is no part whose object is not in the store", async () => {
    await swarm.agent("m1", [runNode("m1")], ["a", "b", "c", "d"], {
      definitions: { forgets: "archive" },
      "volume:a": { forgets: "manifest" },
      "volume:b": { forgets: "pack" },
      "volume:c": { forgets: "half a pack" },
    });
    const controller = await swarm.controller({}, ["m1"]);
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(partsOf(run)).to.deep.equal([
      "raft raft done",
      "definitions definitions failed SKEP_RUN_OBJECT_MISSING",
      "node m1 done",
      "volume m1/a failed SKEP_RUN_OBJECT_MISSING",
      "volume m1/b failed SKEP_RUN_OBJECT_MISSING",
      "volume m1/c failed SKEP_RUN_OBJECT_MISSING",
      "volume m1/d done",
    ]);
    expect(run.status).to.equal("partial");
    for (const part of run.parts.slice(3, 6)) expect(part).to.not.have.any.keys("manifest", "refs");
    expect(run.parts[3]?.error?.message).to.match(/names manifests\/.* which is not there/);
    expect(run.parts[4]?.error?.message).to.match(/needs pack packs\/.* which is not there/);
    expect(run.parts[5]?.error?.message).to.match(/needs pack packs\/.* which has 11 bytes, not 12/);
  });

  it("is no result that another than the node's agent gave", async () => {
    await swarm.agent("m1", [runNode("m1"), runNode("n2")], ["a"]);
    await swarm.agent("n2", [], ["b"], {}, { repositoryKey: Buffer.alloc(32).toString("base64") });
    const controller = await swarm.controller({}, ["m1", "n2"]);
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(partsOf(run).slice(2)).to.deep.equal([
      "node m1 done",
      "node n2 failed SKEP_RESULT_INVALID",
      "volume m1/a done",
    ]);
    expect(run.status).to.equal("partial");
  });

  it("is nothing of a worker that answers for a manager", async () => {
    const nodes = [runNode("m1"), { ...runNode("m2"), role: "worker" as const }];
    await swarm.agent("m1", nodes, ["a"], { raft: { stops: true } });
    await swarm.agent("m2", nodes, [], { definitions: { stops: true } });
    const controller = await swarm.controller({}, ["m1", "m2"]);
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(partsOf(run)[0]).to.equal("raft raft failed SKEP_RESULT_INVALID");
    expect(run.status).to.equal("failed");
  });
});
