import { expect } from "chai";
import { Redis } from "ioredis";
import { setTimeout as sleep } from "node:timers/promises";
import { queueNames } from "../../shared/contract/queues.ts";
import { SkepError } from "../../shared/errors.ts";
import type { Store } from "../../shared/store/store.ts";
import type { FakeAgentOptions } from "./fake-agent.ts";
import { kill, partsOf, runNode, SwarmOfFakes, until, written } from "./swarm-of-fakes.ts";

describe("a run", function () {
  this.timeout(60_000);
  let swarm: SwarmOfFakes;
  beforeEach(async () => {
    swarm = await SwarmOfFakes.make();
  });
  afterEach(() => swarm.remove());

  const code = async (act: Promise<unknown>): Promise<string> => {
    try {
      await act;
      return "no error";
    } catch (error) {
      if (error instanceof SkepError) return `${error.code}: ${error.message}`;
      throw error;
    }
  };
  const running = (what: string) =>
    until(`${what} runs`, async () => (await swarm.accepted()).some((line) => line === what));

  it("covers all that the policy selects, each once, and lists what it left out", async () => {
    const nodes = [runNode("m1"), runNode("n2"), runNode("n3")];
    await swarm.agent("m1", nodes, ["db", "cache-1"]);
    await swarm.agent("n2", nodes, ["web", ["media", "nfs"]]);
    await swarm.agent("n3", nodes, [["media", "nfs"]]);
    const policy = { select: { volumes: { exclude: ["cache-*"] } } };
    const controller = await swarm.controller(policy, ["m1", "n2", "n3"]);
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(run.status).to.equal("done");
    expect(partsOf(run)).to.deep.equal([
      "raft raft done",
      "definitions definitions done",
      "node m1 done",
      "node n2 done",
      "node n3 done",
      "volume m1/db done",
      "volume n2/media done",
      "volume n2/web done",
    ]);
    expect(run.notCovered.map(({ name, reason }) => `${name} ${reason}`)).to.deep.equal([
      "m1/cache-1 not-selected",
      "n3/media taken-elsewhere",
    ]);
    expect(run).to.include({
      trigger: "command",
      schedule: null,
      policyVersion: 1,
      clusterId: "cluster1",
      sequence: 1,
    });
    expect((await swarm.accepted()).sort()).to.deep.equal([
      "m1 definitions",
      "m1 node",
      "m1 raft",
      "m1 volume:db",
      "n2 node",
      "n2 volume:media",
      "n2 volume:web",
      "n3 node",
    ]);
    await until("the flow ends", async () => (await controller.queue.flows("run"))[0]?.state === "done");
  });

  it("orders nothing of agents that still listen once a recovery took the repository over", async () => {
    await swarm.agent("m1", [runNode("m1")], ["db"]);
    const controller = await swarm.controller({}, ["m1"]);
    await swarm.takeOver();
    await controller.runs.command(null, Date.now());
    const flow = await until("the flow ends", async () =>
      (await controller.queue.flows("run")).find(({ state }) => state === "failed"),
    );
    expect(flow.error).to.include({ code: "SKEP_REPOSITORY_FENCED" });
    expect(await swarm.accepted()).to.deep.equal([]);
  });

  it("takes each image once in the cluster, and leaves what a registry gives to that", async () => {
    const nodes = [runNode("m1"), runNode("n2")];
    const image = (letter: string, tag: string): NonNullable<FakeAgentOptions["images"]>[number] => {
      const id = `sha256:${letter.repeat(64)}`;
      return { id, tags: [tag], digests: [], sizeBytes: 1, serviceIds: [], containers: [] };
    };
    const service = (id: string, name: string): NonNullable<FakeAgentOptions["services"]>[number] => {
      const rest = { replicas: 1, volumes: [], binds: [], labels: {}, containerLabels: {}, mayRunOn: null };
      return { id, name: id, mode: "replicated", image: name, ...rest };
    };
    const [own, known] = [image("a", "own:1"), image("b", "public/known:2")];
    const services = [service("one", "own:1"), service("two", "public/known:2"), service("three", "gone:3")];
    await swarm.agent("m1", nodes, [], {}, { images: [known], services });
    await swarm.agent("n2", nodes, [], {}, { images: [own, known] });
    const controller = await swarm.controller({ images: "unpullable" }, ["m1", "n2"]);
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(run.status).to.equal("done");
    expect(partsOf(run).slice(4)).to.deep.equal(["image own:1 done"]);
    expect(run.parts.find(({ kind }) => kind === "image")?.image).to.deep.include({ id: own.id, names: ["own:1"] });
    expect(run.notCovered.map(({ kind, name, reason }) => `${kind} ${name} ${reason}`)).to.have.members([
      "image public/known:2 pullable",
      "image gone:3 absent",
    ]);
    expect((await swarm.accepted()).filter((line) => line.endsWith(" image")).sort()).to.deep.equal([
      "m1 image",
      "n2 image",
    ]);
  });

  it("lists a node that is down and one without an agent as not covered, and does not wait for them", async () => {
    const nodes = [runNode("m1"), runNode("n2", "down"), runNode("n3"), runNode("n4")];
    await swarm.agent("m1", nodes, ["db"]);
    // n3 was never enrolled; n4 was, and is silent.
    const controller = await swarm.controller({}, ["m1", "n2", "n4"], { graceMs: 800 });
    await sleep(1500);
    const begun = Date.now();
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(Date.now() - begun).to.be.lessThan(3000);
    expect(run.status).to.equal("partial");
    expect(run.notCovered.map(({ name, reason }) => `${name} ${reason}`)).to.deep.equal([
      "n2 node-down",
      "n3 no-agent",
      "n4 no-agent",
    ]);
  });

  it("is partial with a volume that fails: named, with reason and hint, after three attempts", async () => {
    const nodes = [runNode("m1")];
    await swarm.agent("m1", nodes, ["bad", "good", "gone"], {
      "volume:bad": { fails: "passing" },
      "volume:gone": { fails: "lasting" },
    });
    const controller = await swarm.controller({}, ["m1"]);
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(run.status).to.equal("partial");
    expect(partsOf(run).slice(3)).to.deep.equal([
      "volume m1/bad failed SKEP_TEST_FAILS",
      "volume m1/gone failed SKEP_TEST_FAILS",
      "volume m1/good done",
    ]);
    expect(run.parts[3]).to.deep.include({
      attempt: 3,
      error: { code: "SKEP_TEST_FAILS", message: "volume:bad fails", permanent: false, hint: "test" },
    });
    const accepted = await swarm.accepted();
    expect(accepted.filter((line) => line.endsWith("bad"))).to.have.length(3);
    expect(accepted.filter((line) => line.endsWith("gone"))).to.have.length(1);
  });

  it("is failed without any manager's agent, and still records the volumes", async () => {
    await swarm.agent("n2", [runNode("n2")], ["web"]);
    const controller = await swarm.controller({}, ["m1", "n2"], { graceMs: 1000 });
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(run.status).to.equal("failed");
    expect(partsOf(run)).to.deep.equal([
      "raft raft failed SKEP_AGENT_GONE",
      "definitions definitions failed SKEP_AGENT_GONE",
      "node n2 done",
      "volume n2/web done",
    ]);
  });

  it("ends partial when an agent is killed at work and stays away; its other volumes are named as well", async () => {
    const nodes = [runNode("m1"), runNode("n2")];
    await swarm.agent("m1", nodes, ["db"]);
    const agent = await swarm.agent("n2", nodes, ["a", "b", "c"], {
      "volume:a": { sleepMs: 60_000 },
      "volume:b": { sleepMs: 60_000 },
      "volume:c": { sleepMs: 60_000 },
    });
    const controller = await swarm.controller({}, ["m1", "n2"]);
    const runId = await controller.runs.command(null, Date.now());
    const busy = async () => (await swarm.accepted()).filter((line) => line.startsWith("n2 volume:")).length === 2;
    await until("two of them run", busy);
    await kill(agent);
    const run = await written(controller, runId);
    expect(run.status).to.equal("partial");
    expect(partsOf(run).slice(4)).to.deep.equal([
      "volume m1/db done",
      "volume n2/a failed SKEP_AGENT_GONE",
      "volume n2/b failed SKEP_AGENT_GONE",
      "volume n2/c failed SKEP_AGENT_GONE",
    ]);
  });

  it("is done when a killed agent comes back, with one part for each volume", async () => {
    const nodes = [runNode("m1"), runNode("n2")];
    await swarm.agent("m1", nodes, ["db"]);
    const agent = await swarm.agent("n2", nodes, ["a"], { "volume:a": { sleepMs: 60_000 } });
    // The new one has to be heard before that, however busy the machine is.
    const controller = await swarm.controller({}, ["m1", "n2"], { graceMs: 60_000 });
    const runId = await controller.runs.command(null, Date.now());
    await running("n2 volume:a");
    await kill(agent);
    await swarm.agent("n2", nodes, ["a"]);
    const run = await written(controller, runId);
    expect(run.status).to.equal("done");
    expect(partsOf(run).filter((part) => part.includes("n2/a"))).to.deep.equal(["volume n2/a done"]);
  });

  it("goes on with another controller, wherever the first one was killed, and does nothing twice", async () => {
    const nodes = [runNode("m1"), runNode("n2")];
    const slow = { raft: { sleepMs: 400 }, node: { sleepMs: 400 }, "volume:a": { sleepMs: 700 } };
    await swarm.agent("m1", nodes, ["db"], slow);
    await swarm.agent("n2", nodes, ["a", "b"], slow);
    const first = await swarm.controller({}, ["m1", "n2"]);
    const runId = await first.runs.command(null, Date.now());
    let controller = first;
    for (const place of ["m1 raft", "n2 node", "n2 volume:a"]) {
      await running(place);
      await controller.end(0);
      controller = await swarm.controller({}, ["m1", "n2"]);
    }
    const run = await written(controller, runId);
    expect(run.status).to.equal("done");
    const accepted = await swarm.accepted();
    expect(new Set(accepted).size).to.equal(accepted.length);
    expect(accepted).to.have.length(7);
    expect(controller.book.summaries).to.have.length(1);
  });

  it("survives a killed Redis, and does nothing twice", async () => {
    const nodes = [runNode("m1"), runNode("n2")];
    await swarm.agent("m1", nodes, ["db"]);
    await swarm.agent("n2", nodes, ["a", "b"], { "volume:a": { sleepMs: 2500 } });
    // The agents have to be heard again before that, however busy the machine is.
    const controller = await swarm.controller({}, ["m1", "n2"], { graceMs: 60_000 });
    const runId = await controller.runs.command(null, Date.now());
    await until("all but one are done", async () => {
      const [flow] = await controller.queue.openFlows();
      return flow !== undefined && (await controller.queue.openOutcomes(flow.id))?.size === 6;
    });
    await swarm.redis.kill();
    await sleep(1500);
    await swarm.redis.start();
    const run = await written(controller, runId);
    expect(run.status).to.equal("done");
    expect(controller.book.summaries).to.have.length(1);
    const accepted = await swarm.accepted();
    expect(new Set(accepted).size).to.equal(accepted.length);
    expect(accepted).to.have.length(7);
  });

  it("by command is begun anew, under another id, when Redis lost all it had", async () => {
    const nodes = [runNode("m1")];
    await swarm.agent("m1", nodes, ["a"], { raft: { sleepMs: 1500 } });
    const controller = await swarm.controller({}, ["m1"]);
    const lost = await controller.runs.command(null, Date.now());
    await running("m1 raft");
    const redis = new Redis(await swarm.redis.address());
    await redis.flushall();
    redis.disconnect();
    const anew = await until("it is begun anew", () => {
      const id = controller.runs.inPlaceOf(lost);
      return Promise.resolve(id !== lost && id);
    });
    const run = await written(controller, anew);
    expect(run).to.include({ status: "done", trigger: "command" });
    expect(await controller.book.run(lost)).to.equal(null);
    await until("the queue is free", async () => (await controller.queue.openFlows()).length === 0);
    expect(controller.book.summaries).to.have.length(1);
  });

  it("is one at a time", async () => {
    await swarm.agent("m1", [runNode("m1")], ["a"], { raft: { sleepMs: 500 } });
    const controller = await swarm.controller({}, ["m1"]);
    const runId = await controller.runs.command(null, Date.now());
    expect(await code(controller.runs.command(null, Date.now()))).to.equal(
      `SKEP_RUN_IN_PROGRESS: run ${runId} is in progress`,
    );
    await written(controller, runId);
    await until("the queue is free", async () => (await controller.queue.openFlows()).length === 0);
    await written(controller, await controller.runs.command(null, Date.now()));
  });

  it("of a schedule begins once for each due time, however often and by whom it is offered", async () => {
    await swarm.agent("m1", [runNode("m1")], ["a"]);
    const policy = { schedules: [{ name: "nightly", cron: "0 3 * * *", timeZone: "UTC" }] };
    const [one, two] = [await swarm.controller(policy, ["m1"]), await swarm.controller(policy, ["m1"])];
    const due = { schedule: "nightly", dueAt: "2026-11-21T03:00:00.000Z", missed: false };
    const offers = await Promise.all([one, two, one, two].map(({ runs }) => runs.due(due, Date.now())));
    expect(offers).to.deep.equal([true, true, true, true]);
    await until("it is written", () => Promise.resolve(one.book.summaries.length + two.book.summaries.length === 1));
    await until("its flow has ended", async () => (await one.queue.openFlows()).length === 0);
    await one.runs.due(due, Date.now());
    await sleep(500);
    expect((await one.queue.flows("run")).map(({ state }) => state)).to.deep.equal(["done"]);
    expect((await swarm.accepted()).filter((line) => line.endsWith("raft"))).to.have.length(1);
    const run = await one.book.run("latest");
    expect(run ?? (await two.book.run("latest"))).to.include({ trigger: "schedule", schedule: "nightly" });
  });

  it("is written once though the store fails at the end, before and after it took the run object", async () => {
    let fails = 0;
    const wrap = (store: Store): Store =>
      new Proxy(store, {
        get(target, name) {
          if (name !== "putIfAbsent") return bound(target, name);
          return async (...args: Parameters<Store["putIfAbsent"]>) => {
            if (!args[0].startsWith("runs/") || ++fails > 2) return target.putIfAbsent(...args);
            if (fails === 2) await target.putIfAbsent(...args);
            throw new SkepError({ code: "SKEP_STORE_UNREACHABLE", message: "no answer", permanent: false });
          };
        },
      });
    await swarm.agent("m1", [runNode("m1")], ["a"]);
    const controller = await swarm.controller({}, ["m1"], { wrap });
    const run = await written(controller, await controller.runs.command(null, Date.now()));
    expect(run.sequence).to.equal(1);
    expect(fails).to.equal(2);
    const { book } = await swarm.controller({}, []);
    expect(book.summaries).to.have.length(1);
  });

  it("is no run of ours when somebody put it into the queue by hand", async () => {
    await swarm.agent("m1", [runNode("m1")], ["a"]);
    const controller = await swarm.controller({}, ["m1"]);
    await controller.queue.openFlow("run", "forged", { runId: "x", step: "commit" });
    await controller.queue.openFlow("erase", "unknown", {});
    const flow = await until("it is refused", async () => {
      const found = await controller.queue.flow("unknown");
      return found?.state === "failed" && found;
    });
    expect(flow.error?.code).to.equal("SKEP_FLOW_UNKNOWN");
    const forged = await until("it is refused", async () => {
      const found = await controller.queue.flow("forged");
      return found?.state === "failed" && found;
    });
    expect(forged.error?.code).to.equal("SKEP_FLOW_INVALID");
    expect(controller.book.summaries).to.have.length(0);
    expect(await swarm.accepted()).to.deep.equal([]);
  });

  it("has no more than the policy's number of nodes at work at once, and two volumes on each", async () => {
    const nodes = ["m1", "n2", "n3", "n4"].map((id) => runNode(id));
    const slow = { "volume:a": { sleepMs: 300 }, "volume:b": { sleepMs: 300 }, "volume:c": { sleepMs: 300 } };
    for (const { id } of nodes) await swarm.agent(id, nodes, ["a", "b", "c"], slow);
    const controller = await swarm.controller({ limits: { nodesAtOnce: 2 } }, ["m1", "n2", "n3", "n4"]);
    const runId = await controller.runs.command(null, Date.now());
    let most = 0;
    let mostOfOne = 0;
    const run = await until("it is written", async () => {
      const [flow] = await controller.queue.openFlows();
      if (flow !== undefined) {
        const children = await controller.queue.children(await controller.queue.pending(flow.id));
        const volumes = children.filter(({ id, state }) => id.includes("-volume-") && state === "active");
        const byNode = Map.groupBy(volumes, ({ queue }) => queue);
        most = Math.max(most, byNode.size);
        mostOfOne = Math.max(mostOfOne, ...[...byNode.values()].map((jobs) => jobs.length));
      }
      return controller.book.run(runId);
    });
    expect(run.status).to.equal("done");
    expect([most, mostOfOne]).to.deep.equal([2, 2]);
  });

  it("ends a volume's job at its expiry, though its agent lives", async () => {
    await swarm.agent("m1", [runNode("m1")], ["a"], { "volume:a": { sleepMs: 60_000 } });
    const controller = await swarm.controller({}, ["m1"]);
    const runId = await controller.runs.command(null, Date.now());
    await running("m1 volume:a");
    const [flow] = await controller.queue.openFlows();
    const [child] = await controller.queue.children(await controller.queue.pending(flow?.id ?? ""));
    // Back-dated by hand: the agent has accepted it, the watch reads the expiry from the job.
    const redis = new Redis(await swarm.redis.address());
    const late = controller.repository.order(
      {
        id: child?.id ?? "",
        target: { kind: "node", nodeId: "m1" },
        task: { kind: "node", runId },
        timeoutMs: -60_000,
      },
      Date.now(),
    );
    await redis.hset(`skep:${queueNames.node("m1")}:${child?.id ?? ""}`, "data", JSON.stringify(late));
    redis.disconnect();
    const run = await written(controller, runId);
    expect(partsOf(run)[3]).to.equal("volume m1/a failed SKEP_JOB_TIMED_OUT");
  });
});

function bound(target: Store, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name);
  return typeof value === "function" ? value.bind(target) : value;
}
