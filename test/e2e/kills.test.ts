import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Restore } from "../../controller/api/schemas.ts";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import type { RestoreDocument } from "../../controller/cli/restore-documents.ts";
import type { Run } from "../../shared/repository/run.ts";
import type { Cluster } from "./cluster.ts";
import { sharedCluster } from "./shared-cluster.ts";
import { describeTree, makeVolume } from "./volumes.ts";

/** 40 MB at 4 MB/s: a run of more than 10 s, so that there is a middle to be killed in. */
const bigBytes = 40_000_000;
const policyAt = (bytesPerSecond: number): string => `version: 1
select:
  volumes:
    include: ["slow"]
limits:
  bytesPerSecondPerNode: ${bytesPerSecond}
`;
const slowPolicy = policyAt(4_000_000);

describe("a run whose parts are killed", function () {
  this.timeout(300_000);
  let cluster: Cluster;

  before(async () => {
    cluster = await sharedCluster();
    await makeVolume(cluster.lab.node(1), "slow", { noise: randomBytes(bigBytes) });
    await setPolicy(slowPolicy);
  });

  after(async () => {
    await setPolicy("version: 1\nselect:\n  volumes:\n    exclude: [scratch*]\n");
    await cluster.lab.node(1).run(["docker", "volume", "rm", "slow"]);
  });

  afterEach(async () => {
    await cluster.ready();
  });

  async function setPolicy(policy: string): Promise<void> {
    const file = join(cluster.folder, "policy.yml");
    await writeFile(file, policy);
    await cluster.skep(["policy", "set", file]);
  }

  /** Starts a run and returns its id once the slow volume is being read. */
  async function beginRun(): Promise<string> {
    // Everything is new again: what was read once would not be read a second time.
    await writeFile(cluster.lab.node(1).hostPath("/var/lib/docker/volumes/slow/_data/noise"), randomBytes(bigBytes));
    const { runId } = await cluster.skepJson<BackupDocument>(["backup"]);
    for (let attempt = 0; attempt < 200; attempt++) {
      const answer = await cluster.runOf(runId);
      if (!("progress" in answer)) return expect.fail(`run ${runId} ended before the volume was read`);
      const part = answer.progress.parts.find((each) => each.name === "node2/slow");
      if ((part?.progress?.doneBytes ?? 0) > 4_000_000) return runId;
      await sleep(250);
    }
    return expect.fail(`run ${runId} never came to read the volume`);
  }

  /** The run's end, awaited for as long as a user would, while the controller is away too. */
  async function endOf(runId: string): Promise<Run> {
    const deadline = Date.now() + 150_000;
    let last = "";
    while (Date.now() < deadline) {
      try {
        const answer = await cluster.runOf(runId);
        if ("run" in answer) return answer.run;
        last = "it is under way";
      } catch (error) {
        last = String(error);
      }
      await sleep(1000);
    }
    return expect.fail(`the end of run ${runId} was not known after 150 s: ${last}`);
  }

  function expectOneSnapshot(run: Run): void {
    const snapshots = run.parts.filter((part) => part.name === "node2/slow");
    expect(snapshots, "parts for the volume").to.have.length(1);
    expect(snapshots[0]?.totals?.sourceBytes).to.equal(bigBytes);
  }

  it("ends, with one snapshot, when its agent is killed in the middle of the upload", async () => {
    const runId = await beginRun();
    await cluster.kill(cluster.lab.node(1), "agent");
    const run = await endOf(runId);
    expect(run.status).to.equal("done");
    expectOneSnapshot(run);
  });

  it("ends, and nothing runs twice, when the controller is killed", async () => {
    const runId = await beginRun();
    const node = (await cluster.nodeOf("controller")) ?? expect.fail("the controller runs nowhere");
    await cluster.kill(node, "controller");
    const run = await endOf(runId);
    expect(run.status).to.equal("done");
    expectOneSnapshot(run);
    expect(run.parts.map((part) => part.attempt)).to.deep.equal(run.parts.map(() => 1));
  });

  it("ends, and nothing runs twice, when Redis is killed", async () => {
    const runId = await beginRun();
    await cluster.kill(cluster.lab.node(0), "redis");
    const run = await endOf(runId);
    expect(run.status).to.equal("done");
    expectOneSnapshot(run);
  });

  it("is begun anew when Redis moves to another node, where its queue is empty; an earlier restore is undone there", async () => {
    const node = cluster.lab.node(1);
    await cluster.skep(["backup", "--wait"]);
    const restore = ["restore", "volume", "node2/slow", "--yes", "--identity", cluster.identity];
    const { restoreId } = await cluster.skepJson<RestoreDocument>(restore);
    // So slow that it is under way for as long as Redis takes to go; the one in its place is not.
    await setPolicy(policyAt(1_000_000));
    const runId = await beginRun();
    await setPolicy(slowPolicy);
    const present = await describeTree(node, "slow");
    await moveRedis("node1", "node3");
    try {
      const run = await endOf(runId);
      expect(run.id).to.not.equal(runId);
      expect(run).to.include({ status: "done", trigger: "command" });
      expectOneSnapshot(run);
      expect(await describeTree(node, "slow")).to.equal(present);
      const { restores } = await cluster.skepJson<{ restores: Restore[] }>(["restore", "list"]);
      expect(restores.map(({ restoreId: id, state }) => `${id} ${state}`)).to.deep.equal([`${restoreId} done`]);
      await cluster.skep(["restore", "undo", restoreId, "--yes"]);
      expect(await describeTree(node, "slow")).to.not.equal(present);
    } finally {
      await moveRedis("node3", "node1");
    }
  });

  /** As Swarm does it when a node is lost: the former one's volume stays behind, here it is removed. */
  async function moveRedis(from: string, to: string): Promise<void> {
    const place = ["--constraint-rm", `node.hostname == ${from}`, "--constraint-add", `node.hostname == ${to}`];
    await cluster.manager.run(["docker", "service", "update", "--detach", "--quiet", ...place, "skep_redis"]);
    const deadline = Date.now() + 60_000;
    while ((await cluster.nodeOf("redis"))?.name !== to) {
      if (Date.now() > deadline) expect.fail(`Redis did not come to ${to}`);
      await sleep(250);
    }
    const left = cluster.lab.node(from);
    await left.run(["docker", "container", "prune", "--force"]);
    await left.run(["docker", "volume", "rm", "skep_redis_data"]);
  }
});
