import { expect } from "chai";
import { Redis } from "ioredis";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ChildOutcome } from "../../controller/flow.ts";
import { JobQueue } from "../../controller/queue.ts";
import { queueNames } from "../../shared/contract/queues.ts";
import { encodeErrorMessage, SkepError } from "../../shared/errors.ts";
import { child, ended, gone, log, node1, QueueRig, timings, twoSteps, until } from "./queue-rig.ts";

describe("the queue", function () {
  this.timeout(60_000);
  let rig: QueueRig;
  before(async () => {
    rig = await QueueRig.make();
  });
  afterEach(() => rig.clear());
  after(() => rig.remove());

  it("does a flow's steps: children of several queues, then the end with all outcomes", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    rig.agent(node1, (id) => Promise.resolve({ from: id }));
    rig.agent(queueNames.managers, () =>
      Promise.reject(
        new Error(encodeErrorMessage(new SkepError({ code: "SKEP_X", message: "no", permanent: true, hint: "h" }))),
      ),
    );
    const queue = rig.openQueue({ run: twoSteps([child("a"), child("b", { queue: queueNames.managers })], seen) });
    expect(await queue.openFlow("run", "flow", { step: 0 })).to.equal("flow");
    expect(await ended(queue, "flow")).to.include({ state: "done", error: null });
    expect(seen[0]?.get("a")).to.deep.equal({ state: "done", value: { from: "a" } });
    const failed = seen[0]?.get("b");
    expect(failed?.state === "failed" && failed.failure.error).to.deep.equal({
      code: "SKEP_X",
      message: "no",
      permanent: true,
      hint: "h",
    });
  });

  it("removes children and outcomes once the flow has ended", async () => {
    rig.agent(node1, () => Promise.resolve({}));
    const queue = rig.openQueue({ run: twoSteps([child("a"), child("b")], []) });
    await queue.openFlow("run", "flow", { step: 0 });
    await ended(queue, "flow");
    await until("nothing is left", async () => (await leftOf("flow")).length === 0);
    expect(await queue.openOutcomes("flow")).to.equal(null);
  });

  /** What Redis has of the children a and b, of what the flow knew of them, and of flows to be tidied up. */
  const leftOf = async (flow: string): Promise<string[]> => {
    const redis = new Redis(rig.address);
    const keys = await redis.keys("skep:*");
    redis.disconnect();
    return keys.filter((key) => new RegExp(`:(a|b|ending|${flow}:.*)$`).test(key));
  };
  const loseLock = async (flow: string): Promise<void> => {
    const redis = new Redis(rig.address);
    await redis.del(`skep:controller:${flow}:lock`);
    redis.disconnect();
  };

  it("does a flow again that lost its lock just before its end: it finds what its children did, and none is done twice", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const begun: string[] = [];
    rig.agent(node1, (id) => {
      begun.push(id);
      return Promise.resolve({ from: id });
    });
    const last = twoSteps([child("a")], seen);
    const queue = rig.openQueue({
      run: async (flow) => {
        const next = await last(flow);
        if (seen.length === 1) await loseLock("flow");
        return next;
      },
    });
    await queue.openFlow("run", "flow", { step: 0 });
    await until("it was to end", () => Promise.resolve(seen.length === 1));
    const open = await queue.openOutcomes("flow");
    if (seen.length === 1) expect(open?.get("a")).to.deep.equal({ state: "done", value: { from: "a" } });
    await ended(queue, "flow");
    expect(seen).to.have.length(2);
    expect(seen[1]).to.deep.equal(seen[0]);
    expect(begun).to.deep.equal(["a"]);
    await until("nothing is left", async () => (await leftOf("flow")).length === 0);
  });

  it("tidies up after a controller that died between a flow's end and that", async () => {
    rig.agent(node1, () => Promise.resolve({}));
    const first = rig.openQueue({ run: twoSteps([child("a")], []) });
    await first.openFlow("run", "flow", { step: 0 });
    await ended(first, "flow");
    await until("nothing is left", async () => (await leftOf("flow")).length === 0);
    await first.close(500);
    // As it was just after the flow's end.
    const redis = new Redis(rig.address);
    await redis.sadd("skep:ending", "flow");
    await redis.hset("skep:controller:flow:processed", `skep:${node1}:a`, "{}");
    redis.disconnect();
    rig.openQueue({ run: twoSteps([], []) });
    await until("nothing is left", async () => (await leftOf("flow")).length === 0);
  });

  it("goes on at once with what it is told while it is at work, before it sleeps", async () => {
    const queue = rig.openQueue({
      wait: async (flow) => {
        const { told } = flow.data as { told: boolean };
        if (told) return { next: "done", result: {} };
        await queue.tellFlow("w", { told: true });
        return { next: "later", at: Date.now() + 60_000 };
      },
    });
    await queue.openFlow("wait", "w", { told: false });
    expect((await ended(queue, "w")).state).to.equal("done");
  });

  it("tries a child again with back-off, and counts its attempts", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const begun: number[] = [];
    rig.agent(node1, () => {
      begun.push(Date.now());
      return Promise.reject(new Error(encodeErrorMessage(gone)));
    });
    const queue = rig.openQueue({ run: twoSteps([child("a", { attempts: 3 })], seen) });
    await queue.openFlow("run", "flow", { step: 0 });
    const waiting = await until("it waits for its next attempt", async () => {
      const [found] = await queue.children([{ queue: node1, id: "a" }]);
      return found?.state === "retrying" && found;
    });
    expect(waiting.failure).to.include({ code: gone.code, message: gone.message });
    await ended(queue, "flow");
    expect(begun).to.have.length(3);
    const outcome = seen[0]?.get("a");
    expect(outcome?.state === "failed" && outcome.failure.attempts).to.equal(3);
    expect((begun[2] ?? 0) - (begun[1] ?? 0)).to.be.greaterThan(80);
  });

  it("opens one flow for one id, and one at a time of those with one name", async () => {
    const queue = rig.openQueue();
    expect(await queue.openFlow("run", "one", { n: 1 }, "run")).to.equal("one");
    expect(await queue.openFlow("run", "one", { n: 2 }, "run")).to.equal("one");
    expect(await queue.openFlow("run", "two", { n: 3 }, "run")).to.equal("one");
    expect((await queue.flows("run")).map(({ data }) => data)).to.deep.equal([{ n: 1 }]);
    expect(await queue.flow("two")).to.equal(null);
    queue.serveFlows({ run: () => Promise.resolve({ next: "done", result: {} }) });
    await ended(queue, "one");
    expect(await queue.openFlow("run", "two", { n: 4 }, "run")).to.equal("two");
    await ended(queue, "two");
    expect(await queue.openFlow("run", "one", { n: 5 }, "run")).to.equal("one");
    expect((await queue.flow("one"))?.data).to.deep.equal({ n: 1 });
  });

  it("tries a flow's step again after a passing fault, and ends the flow at a lasting one", async () => {
    let tries = 0;
    const queue = rig.openQueue({
      passing: () => {
        if (++tries < 3) throw gone;
        return Promise.resolve({ next: "done", result: { tries } });
      },
      lasting: () => {
        throw new SkepError({ code: "SKEP_REPOSITORY_FENCED", message: "fenced", permanent: true });
      },
    });
    await queue.openFlow("passing", "p", {});
    await queue.openFlow("lasting", "l", {});
    expect(await ended(queue, "p")).to.deep.include({ state: "done", result: { tries: 3 }, error: null });
    const lasting = await ended(queue, "l");
    expect(lasting.state).to.equal("failed");
    expect(lasting.error).to.deep.equal({ code: "SKEP_REPOSITORY_FENCED", message: "fenced", permanent: true });
  });

  it("sleeps until later, and is woken before", async () => {
    let calls = 0;
    const queue = rig.openQueue({
      nap: () =>
        Promise.resolve(++calls === 1 ? { next: "later", at: Date.now() + 60_000 } : { next: "done", result: {} }),
    });
    await queue.openFlow("nap", "n", {});
    await until("it sleeps", async () => calls === 1 && (await queue.openFlows()).length === 1);
    await sleep(200);
    expect(calls).to.equal(1);
    await queue.wake("n");
    await ended(queue, "n");
    expect(calls).to.equal(2);
  });

  it("goes on when another controller takes over, in the middle of a step", async () => {
    const first = new JobQueue(rig.address, log, timings);
    const entered = Promise.withResolvers<undefined>();
    first.serveFlows({
      run: () => {
        entered.resolve(undefined);
        return new Promise(() => undefined);
      },
    });
    await first.openFlow("run", "flow", {});
    await entered.promise;
    await first.close(0);
    const queue = rig.openQueue({ run: () => Promise.resolve({ next: "done", result: { by: "second" } }) });
    expect((await ended(queue, "flow")).result).to.deep.equal({ by: "second" });
  });

  it("survives a killed Redis with its append-only file: the flow ends, each child was done once", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const file = join(rig.folder, "redis");
    rig.process(node1, file);
    const children = [child("a"), child("b", { data: { sleepMs: 2500 } }), child("c", { data: null })];
    const queue = rig.openQueue({ run: twoSteps(children, seen) });
    await queue.openFlow("run", "flow", { step: 0 });
    await until("a is done and b runs", async () => {
      const found = await queue.children(await queue.pending("flow"));
      return found.length === 2 && found.some(({ state }) => state === "active");
    });
    await rig.server.kill();
    await until("it is gone", () => Promise.resolve(!queue.ready));
    await rig.server.start();
    await until("it is back", () => Promise.resolve(queue.ready));
    await queue.dispatch({ queue: node1, id: "c" }, { sleepMs: 0 });
    await ended(queue, "flow");
    expect([...(seen[0] ?? [])].map(([id, { state }]) => `${id} ${state}`).sort()).to.deep.equal([
      "a done",
      "b done",
      "c done",
    ]);
    const begun = (await readFile(file, "utf8")).trim().split("\n");
    expect(begun.sort()).to.deep.equal(["a", "b", "c"]);
  });

  it("tells the settings of the server, and keeps a text for a while", async () => {
    const queue = rig.openQueue();
    expect(await queue.side.serverSettings()).to.deep.equal({ maxmemoryPolicy: "noeviction", appendOnly: "yes" });
    await queue.side.keep("x", "text", 1000);
    expect(await queue.side.kept("x")).to.equal("text");
    await until("it is kept no longer", async () => (await queue.side.kept("x")) === null);
  });

  it("takes for a heartbeat only what that node said in the right shape", async () => {
    const queue = rig.openQueue();
    const beat = {
      ...{ nodeId: "n1", hostname: "one", role: "manager", leader: true, skepVersion: "1", engineVersion: "2" },
      ...{ at: "2026-11-21T03:00:00.000Z", problems: [] },
    };
    const redis = new Redis(rig.address);
    await redis.set("skep:agent:n1", JSON.stringify(beat));
    await redis.set("skep:agent:n2", JSON.stringify(beat));
    await redis.set("skep:agent:n3", "no JSON");
    redis.disconnect();
    expect([...(await queue.side.heartbeats(["n1", "n2", "n3", "n4"])).keys()]).to.deep.equal(["n1"]);
  });
});
