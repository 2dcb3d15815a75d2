import { expect } from "chai";
import { Agents } from "../../controller/agents.ts";
import type { ChildView } from "../../controller/flow.ts";
import type { JobQueue } from "../../controller/queue.ts";
import { Tender } from "../../controller/tender.ts";
import { makeLogger } from "../../shared/log.ts";

describe("the tending of flows", () => {
  const flow = { id: "run1", kind: "run", data: {}, state: "open", error: null, result: null, createdAt: 0 };
  const ref = { queue: "node-n1", id: "run1-volume" };

  /** One flow with one child, of which the queue says this. `pending`: at each time that it is asked for what is pending. */
  async function abandoned(state: ChildView["state"], pending: (typeof ref)[][]): Promise<string[]> {
    const given: string[] = [];
    const child = { ...ref, state, data: null, attempts: 3, progress: null };
    const queue = {
      ready: true,
      side: { heartbeats: () => Promise.resolve(new Map()) },
      openFlows: () => Promise.resolve([flow]),
      pending: () => Promise.resolve(pending.shift() ?? []),
      children: (refs: unknown[]) => Promise.resolve(refs.map(() => child)),
      abandon: (_flow: string, { id }: { id: string }, { code }: { code: string }) => {
        given.push(`${id} ${code}`);
        return Promise.resolve();
      },
    };
    const tender = new Tender({
      queue: queue as unknown as JobQueue,
      agents: new Agents(1000),
      dispatching: () => Promise.resolve(null),
      onLost: () => Promise.resolve(),
      log: makeLogger("test", "silent"),
      timings: { everyMs: 10, watchMs: 0, graceMs: 60_000 },
    });
    await tender.tend(1);
    return given;
  }

  it("does not take a child for lost that ended between two looks", async () => {
    for (const state of ["ended", "missing"] as const) expect(await abandoned(state, [[ref], []])).to.deep.equal([]);
  });

  it("gives up a child that the queue lost, or whose end was not noted", async () => {
    for (const state of ["ended", "missing"] as const) {
      expect(await abandoned(state, [[ref], [ref]])).to.deep.equal(["run1-volume SKEP_JOB_LOST"]);
    }
  });
});
