import { Worker } from "bullmq";
import { expect } from "chai";
import { Redis } from "ioredis";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ChildOutcome, FlowHandler, FlowView, NewChild } from "../../controller/flow.ts";
import { JobQueue } from "../../controller/queue.ts";
import type { RedisAddress } from "../../controller/redis.ts";
import { queueNames, queuePrefix } from "../../shared/contract/queues.ts";
import { encodeErrorMessage, SkepError } from "../../shared/errors.ts";
import { makeLogger } from "../../shared/log.ts";
import { RedisServer } from "../lab/redis.ts";

const log = makeLogger("test", "silent");
const timings = { lockMs: 1000, stalledMs: 300, childBackoffMs: 100, flowBackoffMs: 200 };
const gone = new SkepError({ code: "SKEP_AGENT_GONE", message: "the agent is gone", permanent: false, hint: "look" });
const node1 = queueNames.node("n1");

async function until<T>(what: string, look: () => Promise<T | null | false | undefined>, ms = 15_000): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== null && found !== false && found !== undefined) return found;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(20);
  }
}

describe("the queue", function () {
  this.timeout(60_000);
  let server: RedisServer;
  let address: RedisAddress;
  let folder: string;
  let closers: (() => Promise<unknown> | undefined)[] = [];

  before(async () => {
    server = await RedisServer.alone();
    address = await server.address();
    folder = await mkdtemp(join(tmpdir(), "skep-queue-"));
  });
  after(async () => {
    await server.remove();
    await rm(folder, { recursive: true });
  });
  beforeEach(async () => {
    const redis = new Redis(address);
    await redis.flushall();
    redis.disconnect();
  });
  afterEach(async () => {
    for (const close of closers.reverse()) await close();
    closers = [];
  });

  function openQueue(handlers: Record<string, FlowHandler> = {}): JobQueue {
    const queue = new JobQueue(address, log, timings);
    closers.push(() => queue.close(500));
    if (Object.keys(handlers).length > 0) queue.serveFlows(handlers);
    return queue;
  }

  function agent(queue: string, take: (id: string, data: unknown) => Promise<unknown>): Worker {
    const redis = new Redis({ ...address, maxRetriesPerRequest: null });
    const worker = new Worker(queue, (job) => take(job.id ?? "", job.data), {
      connection: redis,
      prefix: queuePrefix,
      lockDuration: 1000,
      stalledInterval: 300,
      drainDelay: 1,
    });
    worker.on("error", () => undefined);
    closers.push(async () => {
      await worker.close(true);
      redis.disconnect();
    });
    return worker;
  }

  function process_(queue: string, file: string): ChildProcess {
    const child = spawn(process.execPath, [join(import.meta.dirname, "queue-worker.ts")], {
      stdio: ["pipe", "ignore", "inherit"],
    });
    child.stdin.end(JSON.stringify({ redis: address, queue, log: file }));
    closers.push(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await new Promise((resolve) => child.once("exit", resolve));
    });
    return child;
  }

  /** Adds the children in a first step; a second one, once they have ended, keeps what became of them. */
  function twoSteps(children: NewChild[], seen: Map<string, ChildOutcome>[]): FlowHandler {
    return async (flow) => {
      const { step } = flow.data as { step: number };
      if (step === 0) {
        await flow.addChildren(children);
        await flow.save({ step: 1 });
        return { next: "children" };
      }
      seen.push(await flow.outcomes());
      return { next: "done", result: { ended: true } };
    };
  }

  const ended = (queue: JobQueue, id: string) =>
    until(`${id} ends`, async (): Promise<FlowView | null> => {
      const flow = await queue.flow(id);
      return flow !== null && flow.state !== "open" ? flow : null;
    });

  const child = (id: string, more: Partial<NewChild> = {}): NewChild => ({
    queue: node1,
    id,
    data: { sleepMs: 0 },
    attempts: 1,
    ...more,
  });

  it("does a flow's steps: children of several queues, then the end with all outcomes", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    agent(node1, (id) => Promise.resolve({ from: id }));
    agent(queueNames.managers, () =>
      Promise.reject(
        new Error(encodeErrorMessage(new SkepError({ code: "SKEP_X", message: "no", permanent: true, hint: "h" }))),
      ),
    );
    const queue = openQueue({ run: twoSteps([child("a"), child("b", { queue: queueNames.managers })], seen) });
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
    agent(node1, () => Promise.resolve({}));
    const queue = openQueue({ run: twoSteps([child("a"), child("b")], []) });
    await queue.openFlow("run", "flow", { step: 0 });
    await ended(queue, "flow");
    const redis = new Redis(address);
    const left = (await redis.keys("skep:*")).filter((key) => /:(a|b|flow:.*)$/.test(key));
    redis.disconnect();
    expect(left).to.deep.equal([]);
  });

  it("tries a child again with back-off, and counts its attempts", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const begun: number[] = [];
    agent(node1, () => {
      begun.push(Date.now());
      return Promise.reject(new Error(encodeErrorMessage(gone)));
    });
    const queue = openQueue({ run: twoSteps([child("a", { attempts: 3 })], seen) });
    await queue.openFlow("run", "flow", { step: 0 });
    await ended(queue, "flow");
    expect(begun).to.have.length(3);
    const outcome = seen[0]?.get("a");
    expect(outcome?.state === "failed" && outcome.failure.attempts).to.equal(3);
    expect((begun[2] ?? 0) - (begun[1] ?? 0)).to.be.greaterThan(80);
  });

  it("opens one flow for one id, and one at a time of those with one name", async () => {
    const queue = openQueue();
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
    const queue = openQueue({
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
    const queue = openQueue({
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

  it("holds a child back until it is handed out, with the data that it gets then", async () => {
    const got: unknown[] = [];
    agent(node1, (_, data) => {
      got.push(data);
      return Promise.resolve({});
    });
    const queue = openQueue({ run: twoSteps([child("a", { data: null })], []) });
    await queue.openFlow("run", "flow", { step: 0 });
    const ref = await until("the child is held", async () => (await queue.pending("flow"))[0]);
    await sleep(300);
    expect((await queue.children([ref]))[0]?.state).to.equal("held");
    expect(got).to.deep.equal([]);
    await queue.dispatch(ref, { order: 1 });
    await queue.dispatch(ref, { order: 2 });
    await ended(queue, "flow");
    expect(got).to.deep.equal([{ order: 1 }]);
  });

  for (const state of ["held", "waiting", "retrying"] as const) {
    it(`ends a child that is ${state} when it is given up, and the flow goes on with the reason`, async () => {
      const seen: Map<string, ChildOutcome>[] = [];
      if (state === "retrying") {
        const worker = agent(node1, () => Promise.reject(new Error("not now")));
        worker.once("failed", () => void worker.close());
      }
      const queue = openQueue({
        run: twoSteps([child("a", { attempts: 3, ...(state === "held" && { data: null }) })], seen),
      });
      await queue.openFlow("run", "flow", { step: 0 });
      const ref = await until(`the child is ${state}`, async () => {
        const [found] = await queue.children(await queue.pending("flow"));
        return found?.state === state && found;
      });
      await queue.abandon("flow", ref, gone);
      await ended(queue, "flow");
      const outcome = seen[0]?.get("a");
      expect(outcome?.state === "failed" && outcome.failure.error.code).to.equal("SKEP_AGENT_GONE");
    });
  }

  it("ends a child whose agent was killed, and the flow goes on", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const file = join(folder, "killed");
    const killed = process_(node1, file);
    const queue = openQueue({ run: twoSteps([child("a", { data: { sleepMs: 60_000 } })], seen) });
    await queue.openFlow("run", "flow", { step: 0 });
    const [ref] = await until("it is active", async () => {
      const found = await queue.children(await queue.pending("flow"));
      return found[0]?.state === "active" && found;
    });
    killed.kill("SIGKILL");
    await until("its lock is gone", async () => {
      const [found] = await queue.children(ref === undefined ? [] : [ref]);
      return found?.state === "abandoned-by-agent";
    });
    if (ref !== undefined) await queue.abandon("flow", ref, gone);
    await ended(queue, "flow");
    const outcome = seen[0]?.get("a");
    expect(outcome?.state === "failed" && outcome.failure.error).to.deep.equal({
      code: "SKEP_AGENT_GONE",
      message: "the agent is gone",
      permanent: false,
      hint: "look",
    });
  });

  it("takes a killed agent's job up again when the agent is back, and has one result", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const file = join(folder, "again");
    const killed = process_(node1, file);
    const queue = openQueue({ run: twoSteps([child("a", { data: { sleepMs: 1500 } })], seen) });
    await queue.openFlow("run", "flow", { step: 0 });
    await until("it is begun", async () => (await readFile(file, "utf8").catch(() => "")) !== "");
    killed.kill("SIGKILL");
    process_(node1, file);
    await ended(queue, "flow");
    expect(seen).to.have.length(1);
    expect(seen[0]?.get("a")).to.deep.equal({ state: "done", value: { done: "a" } });
    expect((await readFile(file, "utf8")).trim().split("\n")).to.deep.equal(["a", "a"]);
  });

  it("ends a child that a living agent does not let go; its late result is not heard", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const late = Promise.withResolvers<unknown>();
    agent(node1, () => late.promise);
    const queue = openQueue({ run: twoSteps([child("a")], seen) });
    await queue.openFlow("run", "flow", { step: 0 });
    const ref = await until("it is active", async () => {
      const [found] = await queue.children(await queue.pending("flow"));
      return found?.state === "active" && found;
    });
    await queue.abandon("flow", ref, gone);
    await ended(queue, "flow");
    late.resolve({ late: true });
    await sleep(200);
    expect(seen).to.have.length(1);
    expect(seen[0]?.get("a")?.state).to.equal("failed");
  });

  it("ends a child whose job vanished from Redis", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const queue = openQueue({ run: twoSteps([child("a")], seen) });
    await queue.openFlow("run", "flow", { step: 0 });
    const ref = await until("it waits", async () => (await queue.pending("flow"))[0]);
    const redis = new Redis(address);
    await redis.del(`skep:${node1}:a`, `skep:${node1}:wait`);
    redis.disconnect();
    expect((await queue.children([ref]))[0]?.state).to.equal("missing");
    await queue.abandon("flow", ref, gone);
    await ended(queue, "flow");
    expect(seen[0]?.get("a")?.state).to.equal("failed");
  });

  it("adds nothing twice when a step is done again: not what runs, nor what has ended, nor what was given up", async () => {
    const begun: string[] = [];
    const seen: Map<string, ChildOutcome>[] = [];
    const release = Promise.withResolvers<unknown>();
    agent(node1, async (id) => {
      begun.push(id);
      if (id === "c-failed") throw new Error("no");
      return id === "c-runs" ? release.promise : {};
    });
    agent(node1, async (id) => {
      begun.push(id);
      if (id === "c-failed") throw new Error("no");
      return id === "c-runs" ? release.promise : {};
    });
    const children = ["c-done", "c-failed", "c-given-up", "c-runs"].map((id) =>
      child(id, id === "c-given-up" ? { data: null } : {}),
    );
    let steps = 0;
    const queue = openQueue({
      run: async (flow) => {
        steps++;
        if (steps <= 2) {
          await flow.addChildren(children);
          if (steps === 2) return { next: "children" };
          // The controller dies here: added, but not written down.
          await until("two have ended", async () => (await flow.outcomes()).size === 2);
          const ref = { queue: node1, id: "c-given-up" };
          await queue.abandon("flow", ref, gone);
          throw gone;
        }
        seen.push(await flow.outcomes());
        return { next: "done", result: {} };
      },
    });
    await queue.openFlow("run", "flow", {});
    // While one of its children runs the flow sleeps before the step is done again.
    setTimeout(() => {
      release.resolve({});
    }, 1000);
    await ended(queue, "flow");
    expect(begun.sort()).to.deep.equal(["c-done", "c-failed", "c-runs"]);
    expect([...(seen[0] ?? [])].map(([id, { state }]) => `${id} ${state}`).sort()).to.deep.equal([
      "c-done done",
      "c-failed failed",
      "c-given-up failed",
      "c-runs done",
    ]);
  });

  it("goes on when another controller takes over, in the middle of a step", async () => {
    const first = new JobQueue(address, log, timings);
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
    const queue = openQueue({ run: () => Promise.resolve({ next: "done", result: { by: "second" } }) });
    expect((await ended(queue, "flow")).result).to.deep.equal({ by: "second" });
  });

  it("survives a killed Redis with its append-only file: the flow ends, each child was done once", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const file = join(folder, "redis");
    process_(node1, file);
    const children = [child("a"), child("b", { data: { sleepMs: 2500 } }), child("c", { data: null })];
    const queue = openQueue({ run: twoSteps(children, seen) });
    await queue.openFlow("run", "flow", { step: 0 });
    await until("a is done and b runs", async () => {
      const found = await queue.children(await queue.pending("flow"));
      return found.length === 2 && found.some(({ state }) => state === "active");
    });
    await server.kill();
    await sleep(300);
    expect(queue.ready).to.equal(false);
    await server.start();
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
    const queue = openQueue();
    expect(await queue.side.serverSettings()).to.deep.equal({ maxmemoryPolicy: "noeviction", appendOnly: "yes" });
    await queue.side.keep("x", "text", 300);
    expect(await queue.side.kept("x")).to.equal("text");
    await sleep(400);
    expect(await queue.side.kept("x")).to.equal(null);
  });

  it("takes for a heartbeat only what that node said in the right shape", async () => {
    const queue = openQueue();
    const beat = {
      ...{ nodeId: "n1", hostname: "one", role: "manager", leader: true, skepVersion: "1", engineVersion: "2" },
      ...{ at: "2026-11-21T03:00:00.000Z", problems: [] },
    };
    const redis = new Redis(address);
    await redis.set("skep:agent:n1", JSON.stringify(beat));
    await redis.set("skep:agent:n2", JSON.stringify(beat));
    await redis.set("skep:agent:n3", "no JSON");
    redis.disconnect();
    expect([...(await queue.side.heartbeats(["n1", "n2", "n3", "n4"])).keys()]).to.deep.equal(["n1"]);
  });
});
