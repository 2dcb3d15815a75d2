import { expect } from "chai";
import { Redis } from "ioredis";
import { setTimeout as sleep } from "node:timers/promises";
import { fingerprintOf } from "../../shared/contract/queues.ts";
import { SkepError } from "../../shared/errors.ts";
import { putPolicy } from "../../shared/repository/catalogue.ts";
import { Enrolments } from "../../controller/enrolments.ts";
import { Agents } from "../../controller/agents.ts";
import { Policies } from "../../controller/policies.ts";
import { Repository } from "../../controller/repository.ts";
import { makeLogger } from "../../shared/log.ts";
import { generateAgeIdentity } from "../../shared/repository/age.ts";
import { deriveWriterKey } from "../../shared/repository/keys.ts";
import { decryptAge } from "../../shared/repository/open/age.ts";
import { publicKeyOf, verifyPayload } from "../../shared/repository/signature.ts";
import { enrolmentGrantSchema } from "../../shared/contract/queues.ts";
import { runNode, SwarmOfFakes, until, type Daemon } from "./swarm-of-fakes.ts";

const log = makeLogger("test", "silent");

async function codeOf(act: Promise<unknown>): Promise<string> {
  try {
    await act;
    return "no error";
  } catch (error) {
    if (error instanceof SkepError) return error.code;
    throw error;
  }
}

describe("the controller", function () {
  this.timeout(60_000);
  let swarm: SwarmOfFakes;
  beforeEach(async () => {
    swarm = await SwarmOfFakes.make();
  });
  afterEach(() => swarm.remove());

  /** A node's agent that was enrolled before. */
  async function enrolled(...nodeIds: string[]): Promise<void> {
    const repository = await Repository.open(swarm.openStore(), swarm.key);
    const enrolments = new Enrolments(repository, new Agents(1000), log);
    for (const nodeId of nodeIds) {
      const { recipient } = await generateAgeIdentity();
      await enrolments.answer({ nodeId, hostname: nodeId, recipient, skepVersion: "0.1.0" }, Date.now());
    }
    await repository.store.close();
  }

  const raftRuns = async () => (await swarm.accepted()).filter((line) => line.endsWith(" raft")).length;

  describe("and its schedules", () => {
    const minutely = { schedules: [{ name: "minutely", cron: "* * * * *", timeZone: "UTC" }] };

    /** As if the policy were in force, and nothing had run, since `ageMs` ago. */
    async function inForceSince(ageMs: number): Promise<void> {
      const repository = await Repository.open(swarm.openStore(), swarm.key);
      const policies = new Policies(repository);
      await policies.load(JSON.stringify({ policy: { version: 1, ...minutely } }), Date.now() - ageMs);
      await repository.store.close();
    }

    it("makes up once for what was missed while it was down, and not again after a restart", async () => {
      await inForceSince(24 * 3600_000);
      await enrolled("m1");
      await swarm.agent("m1", [runNode("m1")], ["a"]);
      if (Date.now() % 60_000 > 35_000) await sleep(60_500 - (Date.now() % 60_000));
      const first = await swarm.daemon(minutely);
      const [run] = await until("a run is written", async () => {
        const runs = await first.controller.runs(10);
        return runs[0]?.status === "done" && runs;
      });
      expect(run).to.include({ trigger: "schedule", schedule: "minutely" });
      await first.end();
      const second = await swarm.daemon(minutely);
      await sleep(1500);
      expect(await second.controller.runs(10)).to.have.length(1);
      expect(await raftRuns()).to.equal(1);
    });

    it("begins a run again that an emptied Redis lost", async () => {
      await inForceSince(24 * 3600_000);
      await enrolled("m1");
      await swarm.agent("m1", [runNode("m1")], ["a"], { raft: { sleepMs: 800 } });
      if (Date.now() % 60_000 > 35_000) await sleep(60_500 - (Date.now() % 60_000));
      const { controller } = await swarm.daemon(minutely);
      await until("it runs", async () => (await raftRuns()) === 1);
      const [lost] = await controller.runs(10);
      const redis = new Redis(await swarm.redis.address());
      await redis.flushall();
      redis.disconnect();
      const [run] = await until("a run is written", async () => {
        const runs = await controller.runs(10);
        return runs[0]?.status === "done" && runs;
      });
      expect(run?.id).to.not.equal(lost?.id);
      expect(await codeOf(controller.run(lost?.id ?? ""))).to.equal("SKEP_RUN_UNKNOWN");
    });
  });

  it("shows runs while Redis is away, and says at once that it can begin none", async () => {
    await enrolled("m1");
    await swarm.agent("m1", [runNode("m1")], ["a"]);
    const { controller } = await swarm.daemon({});
    const runId = await controller.startRun(null);
    await until("it is written", async () => (await controller.runs(10))[0]?.status === "done");
    await swarm.redis.kill();
    const began = Date.now();
    expect((await controller.runs(10)).map(({ id }) => id)).to.deep.equal([runId]);
    expect(await controller.run("latest")).to.have.nested.property("run.id", runId);
    expect(await codeOf(controller.startRun(null))).to.equal("SKEP_QUEUE_UNREACHABLE");
    expect(await codeOf(controller.restores())).to.equal("SKEP_QUEUE_UNREACHABLE");
    const findings = await controller.doctor();
    expect(findings.find(({ code }) => code === "SKEP_QUEUE_UNREACHABLE")).to.include({ level: "error" });
    expect(Date.now() - began).to.be.lessThan(5000);
    await swarm.redis.start();
    await until("Redis is back", async () => (await codeOf(controller.restores())) === "no error");
  });

  it("does not wait for a Redis that hangs", async () => {
    const { controller } = await swarm.daemon({});
    swarm.redis.suspend();
    try {
      expect(await codeOf(controller.startRun(null))).to.equal("SKEP_QUEUE_UNREACHABLE");
    } finally {
      swarm.redis.resume();
    }
  });

  it("tells of a run under way each part with its state", async () => {
    await enrolled("m1");
    // Two, which go out at once, whatever order their ids give them.
    await swarm.agent("m1", [runNode("m1")], ["a", "b"], {
      "volume:a": { sleepMs: 4000 },
      "volume:b": { fails: "lasting" },
    });
    const { controller } = await swarm.daemon({});
    const runId = await controller.startRun(null);
    const progress = await until("one volume is under way, the other has failed", async () => {
      const answer = await controller.run(runId);
      if (!("progress" in answer)) throw new Error("it has ended");
      const { parts } = answer.progress;
      const states = parts.filter(({ kind }) => kind === "volume").map(({ state }) => state);
      return states.includes("running") && states.includes("failed") && answer.progress;
    });
    expect(progress).to.include({ id: runId, status: "running", stage: "snapshots", trigger: "command" });
    const told = progress.parts.map(({ name, state, error }) => [name, state, error?.code].filter(Boolean).join(" "));
    expect(told.sort()).to.deep.equal([
      "definitions done",
      "m1 done",
      "m1/a running",
      "m1/b failed SKEP_TEST_FAILS",
      "raft done",
    ]);
    expect((await controller.runs(10))[0]).to.include({ id: runId, status: "running", endedAt: null });
  });

  describe("and the policy", () => {
    it("takes a changed seed as the next version, and an unchanged one not over what was sent since", async () => {
      const seed = (nodesAtOnce: number) => ({ limits: { nodesAtOnce } });
      const versionOf = async (daemon: Daemon) => {
        const { version, policy } = await daemon.controller.policy();
        await daemon.end();
        return [version, (policy as { limits: { nodesAtOnce: number } }).limits.nodesAtOnce];
      };
      expect(await versionOf(await swarm.daemon(seed(1)))).to.deep.equal([1, 1]);
      const sending = await swarm.daemon(seed(1));
      expect(await codeOf(sending.controller.setPolicy("version: 9"))).to.equal("SKEP_POLICY_INVALID");
      await sending.controller.setPolicy("version: 1\nlimits: { nodesAtOnce: 2 }");
      expect(await versionOf(sending)).to.deep.equal([2, 2]);
      expect(await versionOf(await swarm.daemon(seed(1)))).to.deep.equal([2, 2]);
      expect(await versionOf(await swarm.daemon(seed(3)))).to.deep.equal([3, 3]);
    });

    it("goes on with the last valid one beside an invalid seed, and says so", async () => {
      await (await swarm.daemon({ limits: { nodesAtOnce: 1 } })).end();
      const { controller } = await swarm.daemon({ limits: { nodesAtOnce: 0 } });
      expect((await controller.policy()).version).to.equal(1);
      const findings = await controller.doctor();
      expect(findings.find(({ code }) => code === "SKEP_POLICY_INVALID")?.message).to.contain("limits.nodesAtOnce");
    });

    it("begins no run without any, and says why", async () => {
      const { controller } = await swarm.daemon({ limits: { nodesAtOnce: 0 } });
      expect(await codeOf(controller.startRun(null))).to.equal("SKEP_POLICY_MISSING");
    });

    it("refuses one that was put into the store by another", async () => {
      const repository = await Repository.open(swarm.openStore(), swarm.key);
      await putPolicy(repository.catalogue, { format: 1 });
      await repository.store.close();
      expect(await codeOf(swarm.daemon({}))).to.equal("SKEP_DOCUMENT_INVALID");
    });
  });

  describe("and enrolment", () => {
    let repository: Repository;
    let enrolments: Enrolments;
    beforeEach(async () => {
      repository = await Repository.open(swarm.openStore(), swarm.key);
      enrolments = new Enrolments(repository, new Agents(1000), log);
    });
    afterEach(() => repository.store.close());
    const request = (recipient: string) => ({ nodeId: "n1", hostname: "one", recipient, skepVersion: "0.1.0" });

    it("trusts a node's first key, and hands the writer key to nobody but its holder", async () => {
      const { identity, recipient } = await generateAgeIdentity();
      const answer = await enrolments.answer(request(recipient), Date.now());
      const payload = verifyPayload("skep/v1 job", answer.grant, publicKeyOf(swarm.key.signingKey), "the grant");
      const grant = enrolmentGrantSchema.parse(JSON.parse(payload));
      expect(grant).to.include({ nodeId: "n1", recipient });
      const key = await decryptAge(Buffer.from(grant.sealedWriterKey, "base64"), [identity], "a test");
      const repositoryKey = Buffer.from(swarm.key.repositoryKey, "base64");
      expect(Buffer.from(key)).to.deep.equal(Buffer.from(deriveWriterKey(repositoryKey, swarm.key.repositoryId, "n1")));
      const other = await generateAgeIdentity();
      const sealed = Buffer.from(grant.sealedWriterKey, "base64");
      expect(await codeOf(decryptAge(sealed, [other.identity], "a test"))).to.not.equal("no error");
    });

    it("refuses another key for a known node until it is approved by its fingerprint, also after a restart", async () => {
      const [first, second] = [await generateAgeIdentity(), await generateAgeIdentity()];
      await enrolments.answer(request(first.recipient), Date.now());
      enrolments = new Enrolments(repository, new Agents(1000), log);
      await enrolments.load();
      expect(await codeOf(enrolments.answer(request(second.recipient), Date.now()))).to.equal("SKEP_ENROLMENT_CHANGED");
      expect(await codeOf(enrolments.answer(request(first.recipient), Date.now()))).to.equal("no error");
      const wrong = fingerprintOf(first.recipient);
      expect(await codeOf(enrolments.approve("n1", wrong, Date.now()))).to.equal("SKEP_AGENT_UNKNOWN");
      expect(await codeOf(enrolments.answer(request(second.recipient), Date.now()))).to.equal("SKEP_ENROLMENT_CHANGED");
      await enrolments.approve("n1", fingerprintOf(second.recipient), Date.now());
      expect(await codeOf(enrolments.answer(request(second.recipient), Date.now()))).to.equal("no error");
      expect(await codeOf(enrolments.answer(request(first.recipient), Date.now()))).to.equal("SKEP_ENROLMENT_CHANGED");
    });

    it("trusts one of two first keys that come at the same time", async () => {
      const keys = await Promise.all([1, 2, 3, 4].map(() => generateAgeIdentity()));
      const codes = await Promise.all(
        keys.map(({ recipient }) => codeOf(enrolments.answer(request(recipient), Date.now()))),
      );
      expect(codes.sort()).to.deep.equal([
        "SKEP_ENROLMENT_CHANGED",
        "SKEP_ENROLMENT_CHANGED",
        "SKEP_ENROLMENT_CHANGED",
        "no error",
      ]);
    });

    it("refuses a request of another shape", async () => {
      expect(await codeOf(enrolments.answer({ nodeId: "../n1" }, Date.now()))).to.equal("SKEP_ENROLMENT_INVALID");
    });
  });
});
