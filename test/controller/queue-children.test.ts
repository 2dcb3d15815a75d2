import { expect } from "chai";
import { Redis } from "ioredis";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ChildOutcome } from "../../controller/flow.ts";
import { child, ended, gone, node1, QueueRig, twoSteps, until } from "./queue-rig.ts";

describe("the children of a flow", function () {
  this.timeout(60_000);
  let rig: QueueRig;
  before(async () => {
    rig = await QueueRig.make();
  });
  afterEach(() => rig.clear());
  after(() => rig.remove());

  it("holds a child back until it is handed out, with the data that it gets then", async () => {
    const got: unknown[] = [];
    rig.agent(node1, (_, data) => {
      got.push(data);
      return Promise.resolve({});
    });
    const queue = rig.openQueue({ run: twoSteps([child("a", { data: null })], []) });
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
        const worker = rig.agent(node1, () => Promise.reject(new Error("not now")));
        worker.once("failed", () => void worker.close());
      }
      const queue = rig.openQueue({
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

  it("waits, without a failure, where an agent gave a child back", async () => {
    const given = Promise.withResolvers<undefined>();
    rig.agent(node1, (_, __, giveBack) =>
      giveBack().finally(() => {
        given.resolve(undefined);
      }),
    );
    const queue = rig.openQueue({ run: twoSteps([child("a")], []) });
    await queue.openFlow("run", "flow", { step: 0 });
    await given.promise;
    const [found] = await queue.children(await queue.pending("flow"));
    expect(found).to.include({ state: "waiting", attempts: 0 });
    expect(found).not.to.have.property("failure");
  });

  it("ends a child whose agent was killed, and the flow goes on", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const file = join(rig.folder, "killed");
    const killed = rig.process(node1, file);
    const queue = rig.openQueue({ run: twoSteps([child("a", { data: { sleepMs: 60_000 } })], seen) });
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
    const file = join(rig.folder, "again");
    const killed = rig.process(node1, file);
    const queue = rig.openQueue({ run: twoSteps([child("a", { data: { sleepMs: 1500 } })], seen) });
    await queue.openFlow("run", "flow", { step: 0 });
    await until("it is begun", async () => (await readFile(file, "utf8").catch(() => "")) !== "");
    killed.kill("SIGKILL");
    rig.process(node1, file);
    await ended(queue, "flow");
    expect(seen).to.have.length(1);
    expect(seen[0]?.get("a")).to.deep.equal({ state: "done", value: { done: "a" } });
    expect((await readFile(file, "utf8")).trim().split("\n")).to.deep.equal(["a", "a"]);
  });

  it("ends a child that a living agent does not let go; its late result is not heard", async () => {
    const seen: Map<string, ChildOutcome>[] = [];
    const late = Promise.withResolvers<unknown>();
    rig.agent(node1, () => late.promise);
    const queue = rig.openQueue({ run: twoSteps([child("a")], seen) });
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
    const queue = rig.openQueue({ run: twoSteps([child("a")], seen) });
    await queue.openFlow("run", "flow", { step: 0 });
    const ref = await until("it waits", async () => (await queue.pending("flow"))[0]);
    const redis = new Redis(rig.address);
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
    rig.agent(node1, async (id) => {
      begun.push(id);
      if (id === "c-failed") throw new Error("no");
      return id === "c-runs" ? release.promise : {};
    });
    rig.agent(node1, async (id) => {
      begun.push(id);
      if (id === "c-failed") throw new Error("no");
      return id === "c-runs" ? release.promise : {};
    });
    const children = ["c-done", "c-failed", "c-given-up", "c-runs"].map((id) =>
      child(id, id === "c-given-up" ? { data: null } : {}),
    );
    let steps = 0;
    const queue = rig.openQueue({
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
});
