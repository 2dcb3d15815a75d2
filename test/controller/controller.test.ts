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
import { maxNamedForeign } from "../../shared/repository/foreign.ts";
import { layout } from "../../shared/repository/layout.ts";
import { decryptAge } from "../../shared/repository/open/age.ts";
import { publicKeyOf, verifyPayload } from "../../shared/repository/signature.ts";
import { enrolmentGrantSchema } from "../../shared/contract/queues.ts";
import { withVersions } from "../shared/store/versioned.ts";
import { kill, runNode, SwarmOfFakes, until, type Daemon } from "./swarm-of-fakes.ts";

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
    /** Due every minute of the three hours before this one, and then not before tomorrow. */
    const hours = [3, 2, 1].map((ago) => (new Date().getUTCHours() + 24 - ago) % 24);
    const minutely = { schedules: [{ name: "minutely", cron: `* ${hours.join(",")} * * *`, timeZone: "UTC" }] };

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

  it("has a service rolled back by a manager's agent, and tells what that one did or why not", async () => {
    await enrolled("m1");
    const first = await swarm.agent("m1", [runNode("m1")], []);
    // Longer than the second agent takes to start on a busy machine.
    const { controller } = await swarm.daemon({}, { graceMs: 60_000 });
    expect(await controller.rollBackService("shop_db")).to.deep.equal({ service: "shop_db", fromRecord: true });
    await kill(first);
    await swarm.agent("m1", [runNode("m1")], [], { rollback: { fails: "lasting" } });
    expect(await codeOf(controller.rollBackService("shop_db"))).to.equal("SKEP_TEST_FAILS");
    expect((await swarm.accepted()).filter((line) => line.endsWith(" rollback"))).to.have.length(2);
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

    it("starts, backs up and tells beside what somebody else put above it, above enrolments and the repository object", async () => {
      await (await swarm.daemon({ limits: { nodesAtOnce: 1 } })).end();
      await enrolled("m1");
      const store = swarm.openStore();
      const last = 9_999_999_999;
      const foreign = [layout.repository(2), layout.repository(last), layout.policy(last), layout.agent("m1", last)];
      for (const key of foreign) await store.put(key, Buffer.from("not ours"));
      for (let below = 1; below <= maxNamedForeign; below++) {
        await store.put(layout.agent("m1", last - below), Buffer.from("not ours"));
      }
      await store.close();
      await swarm.agent("m1", [runNode("m1")], ["a"]);
      const { controller } = await swarm.daemon({ limits: { nodesAtOnce: 2 } });
      expect((await controller.policy()).version).to.equal(2);
      expect((await controller.agents()).map(({ nodeId, state }) => `${nodeId} ${state}`)).to.deep.equal([
        "m1 enrolled",
      ]);
      const id = await controller.startRun(null);
      await until("the run is written", async () =>
        (await controller.runs(1)).some((run) => run.id === id && run.status === "done"),
      );
      const findings = await controller.doctor();
      const told = findings.filter(({ message }) => message.includes("does not count"));
      expect(told.map(({ message }) => /lies at (\S+) now/.exec(message)?.[1])).to.include.members(foreign);
      expect(told).to.have.length(maxNamedForeign);
      expect(findings.map(({ message }) => message).join()).to.contain("more objects do not count");
    });

    it("refuses one of another shape, though it is of this repository", async () => {
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

    it("trusts no first key of a node whose enrolment somebody put something over, until a person approves it", async () => {
      const [first, second] = [await generateAgeIdentity(), await generateAgeIdentity()];
      await enrolments.answer(request(first.recipient), Date.now());
      await repository.store.put(layout.agent("n1", 1), Buffer.from("not ours"));
      enrolments = new Enrolments(repository, new Agents(1000), log);
      await enrolments.load();
      expect(enrolments.enrolled.size).to.equal(0);
      expect([...repository.foreign].map(({ key }) => key)).to.deep.equal([layout.agent("n1", 1)]);
      expect(await codeOf(enrolments.answer(request(second.recipient), Date.now()))).to.equal("SKEP_ENROLMENT_CHANGED");
      expect(await codeOf(enrolments.answer(request(first.recipient), Date.now()))).to.equal("SKEP_ENROLMENT_CHANGED");
      await enrolments.approve("n1", fingerprintOf(first.recipient), Date.now());
      expect(await codeOf(enrolments.answer(request(first.recipient), Date.now()))).to.equal("no error");
    });

    it("hands a key that was replaced nothing where something was put over the one that replaced it, and far above stops nobody", async () => {
      const [stolen, second] = [await generateAgeIdentity(), await generateAgeIdentity()];
      await enrolments.answer(request(stolen.recipient), Date.now());
      const afterRestart = async (of = repository): Promise<void> => {
        enrolments = new Enrolments(of, new Agents(1000), log);
        await enrolments.load();
      };
      await repository.store.put(layout.agent("n1", 9_999_999_999), Buffer.from("not ours"));
      await afterRestart();
      expect(await codeOf(enrolments.answer(request(stolen.recipient), Date.now()))).to.equal("no error");
      const { store, expire } = withVersions(repository.store);
      const versioned = await Repository.open(store, swarm.key);
      await afterRestart(versioned);
      await codeOf(enrolments.answer(request(second.recipient), Date.now()));
      await enrolments.approve("n1", fingerprintOf(second.recipient), Date.now());
      await store.put(layout.agent("n1", 2), Buffer.from("not ours"));
      // The store knows what was there.
      await afterRestart(versioned);
      expect(await codeOf(enrolments.answer(request(stolen.recipient), Date.now()))).to.equal("SKEP_ENROLMENT_CHANGED");
      expect(await codeOf(enrolments.answer(request(second.recipient), Date.now()))).to.equal("no error");
      // And where it does not, a person has to say.
      expire(layout.agent("n1", 2));
      await afterRestart(versioned);
      for (const { recipient } of [stolen, second]) {
        expect(await codeOf(enrolments.answer(request(recipient), Date.now()))).to.equal("SKEP_ENROLMENT_CHANGED");
      }
      await enrolments.approve("n1", fingerprintOf(second.recipient), Date.now());
      expect(await codeOf(enrolments.answer(request(second.recipient), Date.now()))).to.equal("no error");
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
