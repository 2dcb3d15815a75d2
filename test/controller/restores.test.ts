import { expect } from "chai";
import { Redis } from "ioredis";
import { setTimeout as sleep } from "node:timers/promises";
import { Agents } from "../../controller/agents.ts";
import type { Restore } from "../../controller/api/schemas.ts";
import { Enrolments } from "../../controller/enrolments.ts";
import { Repository } from "../../controller/repository.ts";
import { openResult } from "../../shared/contract/signed-job.ts";
import { SkepError } from "../../shared/errors.ts";
import { makeLogger } from "../../shared/log.ts";
import { generateAgeIdentity } from "../../shared/repository/age.ts";
import type { FakeAgentOptions } from "./fake-agent.ts";
import { runNode, SwarmOfFakes, until, type Daemon } from "./swarm-of-fakes.ts";

describe("a restore", function () {
  this.timeout(60_000);
  let swarm: SwarmOfFakes;
  let daemon: Daemon;
  let runId: string;

  async function begin(does: FakeAgentOptions["does"], policy: object = {}): Promise<void> {
    swarm = await SwarmOfFakes.make();
    const repository = await Repository.open(swarm.openStore(), swarm.key);
    const enrolments = new Enrolments(repository, new Agents(1000), makeLogger("test", "silent"));
    const { recipient } = await generateAgeIdentity();
    await enrolments.answer({ nodeId: "m1", hostname: "m1", recipient, skepVersion: "0.1.0" }, Date.now());
    await repository.store.close();
    await swarm.agent("m1", [runNode("m1")], ["a"], does);
    daemon = await swarm.daemon(policy);
    runId = await daemon.controller.startRun(null);
    await until("the run is written", async () => (await daemon.controller.runs(1))[0]?.status === "done");
  }
  afterEach(() => swarm.remove());

  const start = (stop: boolean) =>
    daemon.controller.startRestore({ runId, nodeId: "m1", volume: "a", toNodeId: "m1", targetName: "a", stop });
  const reaches = (id: string, ...states: Restore["state"][]) =>
    until(`the restore is ${states.join(" or ")}`, async () => {
      const view = await daemon.controller.restore(id);
      return states.includes(view.state) && view;
    });
  const steps = async () =>
    (await swarm.accepted())
      .map((line) => line.replace("m1 ", ""))
      .filter((what) => /^(restore|hold|release)/.test(what));
  const codeOf = async (act: Promise<unknown>): Promise<string> => {
    try {
      await act;
      return "no error";
    } catch (error) {
      if (error instanceof SkepError) return error.code;
      throw error;
    }
  };
  const sealedKeys = Buffer.from("sealed").toString("base64");

  it("prepares, waits for its keys, holds, restores and releases; is undone and discarded", async () => {
    await begin({});
    const id = await start(true);
    const prepared = await reaches(id, "prepared");
    const { jobId, sealedResult } = prepared.prepared ?? { jobId: "", sealedResult: null };
    const opened = openResult(sealedResult, jobId, (writer) => daemon.repository.resultKeyOf(writer));
    expect(opened.result.kind).to.equal("restore-prepare");
    await sleep(300);
    expect(await steps()).to.deep.equal(["restore-prepare"]);
    await daemon.controller.giveRestoreKeys(id, sealedKeys);
    const done = await reaches(id, "done", "failed");
    expect(done).to.include({ state: "done", volume: "a", targetName: "a" });
    expect(done.result).to.include({ kind: "restore-volume", keptOld: true });
    expect(await steps()).to.deep.equal(["restore-prepare", "hold", "restore-volume", "release"]);
    expect(await codeOf(daemon.controller.giveRestoreKeys(id, sealedKeys))).to.equal("SKEP_RESTORE_STATE");
    await daemon.controller.takeBackRestore(id, "undo");
    await reaches(id, "undone");
    expect((await steps()).slice(4)).to.deep.equal(["restore-prepare", "hold", "restore-undo", "release"]);
  });

  it("holds nothing that it was not asked to hold", async () => {
    await begin({});
    const id = await start(false);
    await reaches(id, "prepared");
    await daemon.controller.giveRestoreKeys(id, sealedKeys);
    await reaches(id, "done");
    await daemon.controller.takeBackRestore(id, "discard");
    await reaches(id, "discarded");
    expect(await steps()).to.deep.equal(["restore-prepare", "restore-volume", "restore-discard"]);
  });

  it("of a dump goes to its command in the container that was agreed to, once, holds nothing, and can't be taken back", async () => {
    const command = { command: ["psql"], container: "db", timeout: 90 };
    await begin({}, { volumes: [{ match: "a", dump: { command: "pg_dumpall" }, load: command }] });
    expect(await codeOf(start(true))).to.equal("SKEP_LOAD_UNFIT");
    const id = await start(false);
    const { prepared } = await reaches(id, "prepared");
    const { jobId, sealedResult } = prepared ?? { jobId: "", sealedResult: null };
    const { result } = openResult(sealedResult, jobId, (writer) => daemon.repository.resultKeyOf(writer));
    expect(result).to.include({ kind: "restore-prepare", loadsIn: "db.1" });
    await daemon.controller.giveRestoreKeys(id, sealedKeys);
    const { result: loaded } = await reaches(id, "done", "failed");
    expect(loaded).to.include({ kind: "restore-load" });
    expect(loaded).to.have.nested.property("command.container", "db.1");
    expect(await steps()).to.deep.equal(["restore-prepare", "restore-load"]);
    for (const kind of ["undo", "discard"] as const) {
      expect(await codeOf(daemon.controller.takeBackRestore(id, kind))).to.equal("SKEP_RESTORE_STATE");
    }
  });

  it("releases what it held when the restore itself fails; its undo asks the agent, and has another try with jobs of its own", async () => {
    await begin({ "restore-volume": { fails: "lasting" }, "restore-undo": { fails: "lasting" } });
    const id = await start(true);
    await reaches(id, "prepared");
    expect(await codeOf(daemon.controller.takeBackRestore(id, "undo"))).to.equal("SKEP_RESTORE_STATE");
    await daemon.controller.giveRestoreKeys(id, sealedKeys);
    const failed = await reaches(id, "failed", "done");
    expect(failed.state).to.equal("failed");
    expect(failed.error?.code).to.equal("SKEP_TEST_FAILS");
    expect(await steps()).to.deep.equal(["restore-prepare", "hold", "restore-volume", "release", "restore-list"]);
    for (let time = 1; time <= 2; time++) {
      await daemon.controller.takeBackRestore(id, "undo");
      await reaches(id, "failed");
    }
    const undo = ["restore-prepare", "hold", "restore-undo", "release"];
    expect((await steps()).slice(5)).to.deep.equal([...undo, ...undo]);
  });

  it("is done, and can be undone, where its agent could not tell that it is in place", async () => {
    await begin({ "restore-volume": { mute: true } });
    const id = await start(true);
    await reaches(id, "prepared");
    await daemon.controller.giveRestoreKeys(id, sealedKeys);
    const done = await reaches(id, "done", "failed");
    expect([done.state, done.result]).to.deep.equal(["done", undefined]);
    expect(done.error?.code).to.equal("SKEP_TEST_FAILS");
    await daemon.controller.takeBackRestore(id, "undo");
    await reaches(id, "undone");
  });

  it("releases what it held though the controller is killed in between, each step done once", async () => {
    await begin({ hold: { sleepMs: 600 }, "restore-volume": { sleepMs: 900 }, release: { sleepMs: 600 } });
    const id = await start(true);
    await reaches(id, "prepared");
    await daemon.end(0);
    daemon = await swarm.daemon({});
    await daemon.controller.giveRestoreKeys(id, sealedKeys);
    for (const step of ["hold", "restore-volume", "release"]) {
      await until(`${step} begins`, async () => (await steps()).includes(step));
      await daemon.end(0);
      daemon = await swarm.daemon({});
    }
    await reaches(id, "done");
    expect(await steps()).to.deep.equal(["restore-prepare", "hold", "restore-volume", "release"]);
  });

  const loseRedis = async (): Promise<void> => {
    const redis = new Redis(await swarm.redis.address());
    await redis.flushall();
    redis.disconnect();
  };

  it("is listed and undone after Redis lost all it had, as its agent tells", async () => {
    await begin({});
    const id = await start(true);
    await reaches(id, "prepared");
    await daemon.controller.giveRestoreKeys(id, sealedKeys);
    const { restoreId, runId: from, startedAt } = await reaches(id, "done");
    await loseRedis();
    const listed = await daemon.controller.restores();
    expect(listed).to.have.length(1);
    expect(listed[0]).to.include({ restoreId, runId: from, startedAt, state: "done", targetName: "a", endedAt: null });
    await daemon.controller.takeBackRestore(id, "undo");
    await reaches(id, "undone");
    const asked = ["restore-list", "restore-prepare", "hold", "restore-undo", "release"];
    expect((await steps()).slice(4)).to.deep.equal(asked);
  });

  it("is discarded though nobody listed it after a loss of Redis; for the list agents are asked once", async () => {
    await begin({});
    const id = await start(false);
    await reaches(id, "prepared");
    await daemon.controller.giveRestoreKeys(id, sealedKeys);
    await reaches(id, "done");
    await loseRedis();
    await daemon.controller.takeBackRestore(id, "discard");
    await reaches(id, "discarded");
    for (let time = 0; time < 2; time++) {
      expect((await daemon.controller.restores()).map(({ state }) => state)).to.deep.equal(["discarded"]);
    }
    expect((await steps()).slice(2)).to.deep.equal(["restore-list", "restore-discard"]);
  });

  it("is one at a time for each volume, and needs a snapshot that is there", async () => {
    await begin({});
    const id = await start(false);
    expect(await codeOf(start(false))).to.equal("SKEP_RESTORE_IN_PROGRESS");
    await reaches(id, "prepared");
    const wanted = { runId, nodeId: "m1", volume: "b", toNodeId: "m1", targetName: "b", stop: false };
    expect(await codeOf(daemon.controller.startRestore(wanted))).to.equal("SKEP_RESTORE_NOT_IN_RUN");
    const unknown = { ...wanted, runId: "20200101-000000-aaaaaa" };
    expect(await codeOf(daemon.controller.startRestore(unknown))).to.equal("SKEP_RUN_UNKNOWN");
    expect(await codeOf(daemon.controller.restore("zzzzzzzzzzzz"))).to.equal("SKEP_RESTORE_UNKNOWN");
  });

  it("orders nothing by what somebody else wrote into Redis", async () => {
    await begin({});
    const id = await start(false);
    await reaches(id, "prepared");
    const redis = new Redis(await swarm.redis.address());
    const text = (await redis.hget(`skep:controller:${id}`, "data")) ?? "";
    const forged = text.replaceAll('\\"targetName\\":\\"a\\"', '\\"targetName\\":\\"b\\"');
    expect(forged).to.not.equal(text);
    await redis.hset(
      `skep:controller:${id}`,
      "data",
      forged.replace('"sealedKeys":null', `"sealedKeys":"${sealedKeys}"`),
    );
    redis.disconnect();
    await daemon.queue.wake(id);
    const flow = await until("it is refused", async () => {
      const found = await daemon.queue.flow(id);
      return found?.state === "failed" && found;
    });
    expect(flow.error?.code).to.equal("SKEP_SIGNATURE_INVALID");
    expect(await steps()).to.deep.equal(["restore-prepare"]);
  });
});
