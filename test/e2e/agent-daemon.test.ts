// The agent's daemon with a real Redis: what it takes, what it refuses, and what happens when it, or Redis, dies.
import { execFileSync } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { Redis } from "ioredis";
import { agentKey, heartbeatSchema, queueNames, type Heartbeat } from "../../shared/contract/queues.ts";
import { signJob } from "../../shared/contract/signed-job.ts";
import type { Job } from "../../shared/contract/job.ts";
import { generateSigningKeyPair } from "../../shared/repository/signature.ts";
import { nodeImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { Daemon, failureOf, newRun, Rig, until, volumeTask } from "./agent-rig.ts";

const megabyte = 1024 * 1024;

describe("the agent's daemon", () => {
  let lab: Lab;
  let node: LabNode;
  let rig: Rig;
  let daemon: Daemon;
  let watcher: Redis;

  before(async function () {
    this.timeout(600_000);
    lab = await Lab.up({ nodes: 1, managers: 1, redis: true, images: [nodeImage()] });
    node = lab.node("node1");
    await node.run(["docker", "volume", "create", "large"]);
    execFileSync("dd", [
      ...["if=/dev/urandom", "bs=1M", "count=48", "status=none"],
      `of=${node.hostPath("/var/lib/docker/volumes/large/_data/random")}`,
    ]);
  });
  after(async () => {
    await lab.down();
  });
  beforeEach(async () => {
    rig = await Rig.make();
    const address = await lab.redis.address();
    watcher = new Redis({ ...address, maxRetriesPerRequest: null });
    watcher.on("error", () => undefined);
    await watcher.flushall();
    daemon = await Daemon.make(rig, node, address);
    daemon.start();
    await until(() => daemon.log.includes("takes jobs"));
  });
  afterEach(async function () {
    if (this.currentTest?.state === "failed") console.error(daemon.log);
    await daemon.down();
    watcher.disconnect();
    await rig.down();
  });

  const slowTask = { ...volumeTask("large"), maxBytesPerSecond: 8 * megabyte };
  const key = (): string => rig.repository.controllerKey.signingKey;
  const ownQueue = (): string => queueNames.node(daemon.nodeId);
  const nodeTask = (change: Partial<Job> = {}): Job =>
    rig.job({ kind: "node", runId: newRun() }, { kind: "node", nodeId: daemon.nodeId }, change);
  const begins = (): number => daemon.log.match(/"msg":"begins"/g)?.length ?? 0;
  async function snapshots(prefix: string): Promise<number> {
    let count = 0;
    for await (const object of rig.store.list(prefix)) if (object.sizeBytes > 0) count++;
    return count;
  }
  async function heartbeat(): Promise<Heartbeat | null> {
    const text = await watcher.get(agentKey(daemon.nodeId));
    return text === null ? null : heartbeatSchema.parse(JSON.parse(text));
  }
  const underWay = (): Promise<void> => until(async () => (await snapshots("packs/")) > 0);

  it("enrols, shows itself, and answers its node's and the managers' jobs under its own seal", async () => {
    const { part } = await daemon.order({ kind: "node", runId: newRun() });
    expect(part).to.include({ status: "done", hostname: "node1", attempt: 1 });
    const raft = await daemon.order({ kind: "raft", runId: newRun() }, { target: { kind: "managers" } });
    expect(raft.part.status).to.equal("done");
    await until(async () => (await heartbeat()) !== null);
    expect(await heartbeat()).to.deep.include({ hostname: "node1", role: "manager", leader: true, problems: [] });
  });

  it("refuses jobs pushed by hand, signed by another, copied, expired or meant for another node", async () => {
    const refusal = async (data: unknown, id: string = randomUUID()): Promise<string> =>
      (await failureOf(daemon.push(ownQueue(), id, data))).code;
    const job = nodeTask();
    expect(await refusal({ kind: "node" })).to.equal("SKEP_JOB_INVALID");
    expect(await refusal(job, job.id)).to.equal("SKEP_JOB_INVALID");
    expect(await refusal(signJob(job, generateSigningKeyPair().privateKey), job.id + "x")).to.equal(
      "SKEP_SIGNATURE_INVALID",
    );
    const elsewhere = nodeTask({ target: { kind: "node", nodeId: "another" } });
    expect(await refusal(signJob(elsewhere, key()), elsewhere.id)).to.equal("SKEP_JOB_FOREIGN");
    const late = nodeTask({ expiresAt: new Date(Date.now() - 1000).toISOString() });
    expect(await refusal(signJob(late, key()), late.id)).to.equal("SKEP_JOB_EXPIRED");

    const done = nodeTask();
    const signed = signJob(done, key());
    await daemon.push(ownQueue(), done.id, signed);
    expect(await refusal(signed), "a copy under another id").to.equal("SKEP_JOB_INVALID");
    await daemon.forgetJob(ownQueue(), done.id);
    expect(await refusal(signed, done.id), "a copy of what was done").to.equal("SKEP_JOB_REPLAYED");
    expect(await snapshots("archives/")).to.equal(1);
  });

  it("tells the error of its engine's words with code and hint", async () => {
    const error = await failureOf(daemon.order(volumeTask("nowhere")));
    expect(error).to.include({ code: "SKEP_SOURCE_VOLUME_GONE", permanent: true });
    expect(error.message).to.contain("nowhere");
    expect(error.hint).to.be.a("string");
    expect(begins(), "a permanent error is not tried again").to.equal(1);
  });

  it("goes on after a SIGKILL in the middle of an upload, to one snapshot", async () => {
    const ended = daemon.order(slowTask);
    await underWay();
    expect(await daemon.stop("SIGKILL")).to.equal("SIGKILL");
    expect(await snapshots("refs/")).to.equal(0);
    daemon.start();
    const { part } = await ended;
    expect(part).to.include({ status: "done", attempt: 2 });
    expect(part.totals?.sourceBytes).to.equal(48 * megabyte);
    expect(await snapshots("refs/")).to.equal(1);
    expect(await snapshots("manifests/")).to.equal(1);
  });

  it("gives its job back when it is told to stop, and does it at its next start as the same attempt", async () => {
    const ended = daemon.order(slowTask);
    await underWay();
    const begun = Date.now();
    expect(await daemon.stop("SIGTERM")).to.equal(0);
    expect(Date.now() - begun, "ms to stop").to.be.lessThan(10_000);
    daemon.start();
    const { part } = await ended;
    expect(part).to.include({ status: "done", attempt: 1 });
    expect(await snapshots("refs/")).to.equal(1);
  });

  it("works through a Redis that is killed, and tells the end once, having worked once", async () => {
    const ended = daemon.order(slowTask);
    await underWay();
    await lab.redis.kill();
    await sleep(20_000); // longer than a job's lock
    await lab.redis.start();
    const { part } = await ended;
    expect(part).to.include({ status: "done", attempt: 1 });
    expect(await snapshots("refs/")).to.equal(1);
  });

  it("is refused nothing by a restart: its key and its journal are kept", async () => {
    const job = nodeTask();
    const signed = signJob(job, key());
    await daemon.push(ownQueue(), job.id, signed);
    const fingerprint = /"fingerprint":"([^"]+)"/.exec(daemon.log)?.[1];
    await daemon.stop();
    daemon.log = "";
    daemon.start();
    await until(() => daemon.log.includes("takes jobs"));
    expect(/"fingerprint":"([^"]+)"/.exec(daemon.log)?.[1])
      .to.equal(fingerprint)
      .and.to.be.a("string");
    await daemon.forgetJob(ownQueue(), job.id);
    expect(await failureOf(daemon.push(ownQueue(), job.id, signed))).to.include({ code: "SKEP_JOB_REPLAYED" });
  });

  it("tells among its node's problems what it can't start again, until it could", async function () {
    this.timeout(240_000);
    const docker = async (...argv: string[]): Promise<string> => (await node.run(["docker", ...argv])).trim();
    const problems = async (): Promise<string[] | undefined> => (await heartbeat())?.problems;
    const port = ["--publish", "7777:7777", "--stop-timeout", "0", nodeImage().tag, "sleep", "1000"];
    await docker("run", "--detach", "--name", "shop", "--volume", "shop:/data", ...port);
    try {
      const deadlineAt = new Date(Date.now() + 20_000).toISOString();
      const pauseId = randomBytes(6).toString("hex");
      await daemon.order({ kind: "pause", pauseId, volumes: [], stops: ["shop"], before: [], deadlineAt });
      await docker("run", "--detach", "--name", "taker", ...port);
      await until(async () => (await problems())?.some((each) => each.includes("SKEP_START_FAILED")) === true);
      expect((await problems())?.join())
        .to.contain("container shop")
        .and.contain("7777");
      await docker("rm", "--force", "taker");
      await until(async () => (await problems())?.length === 0, 90_000);
      expect(await docker("inspect", "--format", "{{.State.Status}}", "shop")).to.equal("running");
    } finally {
      await node.exec(["docker", "rm", "--force", "shop", "taker"]);
    }
  });

  it("logs no password, key or credential", async () => {
    await daemon.order({ kind: "node", runId: newRun() });
    const { password } = await lab.redis.address();
    const writerKey = Buffer.from(rig.writerKey(daemon.nodeId));
    for (const secret of [password, writerKey.toString("base64"), writerKey.toString("hex"), "AGE-SECRET-KEY"]) {
      expect(daemon.log).not.to.contain(secret);
    }
  });
});
