import { expect } from "chai";
import type { ChildView } from "../../controller/flow.ts";
import { Agents } from "../../controller/agents.ts";
import { chooseNext, giveUp } from "../../controller/watch.ts";
import type { Heartbeat } from "../../shared/contract/queues.ts";
import { signJob } from "../../shared/contract/signed-job.ts";
import { generateSigningKeyPair } from "../../shared/repository/signature.ts";

const now = Date.parse("2026-11-21T03:00:00Z");
const graceMs = 90_000;

function child(state: ChildView["state"], expiresAt: string | null, queue = "node-n1"): ChildView {
  const order = signJob(
    {
      ...{ version: 1, id: "a", repositoryId: "0".repeat(32), incarnation: 1, issuedAt: "2026-11-21T02:00:00.000Z" },
      ...{ target: { kind: "node", nodeId: "n1" }, maxAttempts: 3, expiresAt: expiresAt ?? "" },
      task: { kind: "node", runId: "20261121-030000-abc123" },
    },
    generateSigningKeyPair().privateKey,
  );
  return { queue, id: "a", state, data: expiresAt === null ? {} : order, attempts: 0, progress: null };
}
const later = "2026-11-21T04:00:00.000Z";
const before = "2026-11-21T02:59:00.000Z";

describe("the watch over a child", () => {
  const code = (view: ChildView, silentMs = 0) => giveUp(view, silentMs, graceMs, now)?.code ?? "goes on";

  it("lets it go on while its agent is heard and its time is not over", () => {
    for (const state of ["waiting", "retrying", "active", "abandoned-by-agent", "held"] as const) {
      expect(code(child(state, later), graceMs - 1)).to.equal("goes on");
    }
  });

  it("gives it up when its agent is silent for too long, but not while the agent holds its lock", () => {
    for (const state of ["waiting", "retrying", "abandoned-by-agent", "held"] as const) {
      expect(code(child(state, later), graceMs)).to.equal("SKEP_AGENT_GONE");
    }
    expect(code(child("active", later), graceMs)).to.equal("goes on");
    expect(giveUp(child("waiting", later), 95_000, graceMs, now)?.message).to.equal(
      "the agent of node n1 was not heard for 95 s",
    );
    expect(giveUp(child("waiting", later, "managers"), Infinity, graceMs, now)?.message).to.equal(
      "a manager's agent was never heard",
    );
  });

  it("gives it up when it did not end by its expiry, a moment after the agent should have said so", () => {
    expect(code(child("active", "2026-11-21T02:59:45.000Z"))).to.equal("goes on");
    for (const state of ["waiting", "retrying", "active", "abandoned-by-agent"] as const) {
      expect(code(child(state, before))).to.equal("SKEP_JOB_TIMED_OUT");
    }
    expect(code(child("active", null))).to.equal("SKEP_JOB_TIMED_OUT");
    expect(code(child("held", null))).to.equal("goes on");
  });

  it("gives it up when its job vanished, or ended without its parent", () => {
    expect(code(child("missing", null))).to.equal("SKEP_JOB_LOST");
    expect(code(child("ended", later))).to.equal("SKEP_JOB_LOST");
  });
});

describe("the choice of what goes out next", () => {
  const held = ["n1", "n2", "n3"].flatMap((nodeId) =>
    ["a", "b", "c"].map((job) => ({ id: `${nodeId}${job}`, nodeId })),
  );
  const base = {
    held,
    out: new Map<string, number>(),
    nodesAtOnce: 2,
    jobsPerNode: 2,
    runId: "r",
    sinceMs: 0,
    jitterMs: 0,
  };
  const nodesOf = (ids: string[]) => new Set(ids.map((id) => id.slice(0, 2)));

  it("begins with as many nodes as may work, and two jobs each", () => {
    const chosen = chooseNext(base);
    expect(chosen).to.have.length(4);
    expect(nodesOf(chosen).size).to.equal(2);
    expect(chooseNext({ ...base, nodesAtOnce: 9 })).to.have.length(6);
  });

  it("gives a node at work its next job, and begins no further node until one has ended", () => {
    const left = held.filter(({ id }) => !["n1a", "n1b", "n2a", "n2b"].includes(id));
    const out = new Map([
      ["n1", 1],
      ["n2", 2],
    ]);
    expect(chooseNext({ ...base, held: left, out })).to.deep.equal(["n1c"]);
    const last = left.filter(({ nodeId }) => nodeId === "n3");
    expect(
      chooseNext({
        ...base,
        held: last,
        out: new Map([
          ["n1", 1],
          ["n2", 1],
        ]),
      }),
    ).to.deep.equal([]);
    expect(chooseNext({ ...base, held: last, out: new Map([["n1", 1]]) })).to.deep.equal(["n3a", "n3b"]);
  });

  it("begins the nodes spread over the jitter, all of them by its end, in another order each run", () => {
    const jittered = { ...base, nodesAtOnce: 9, jitterMs: 60_000 };
    const counts = [0, 15_000, 30_000, 45_000, 60_000].map(
      (sinceMs) => nodesOf(chooseNext({ ...jittered, sinceMs })).size,
    );
    expect(counts).to.deep.equal([...counts].sort());
    expect(counts[0]).to.equal(0);
    expect(counts[4]).to.equal(3);
    const firsts = Array.from({ length: 40 }, (_, run) => chooseNext({ ...base, nodesAtOnce: 1, runId: `r${run}` })[0]);
    expect(nodesOf(firsts.map(String)).size).to.equal(3);
  });
});

describe("the silence of agents", () => {
  const beat = (nodeId: string, role: Heartbeat["role"]): [string, Heartbeat] => [
    nodeId,
    {
      ...{ nodeId, hostname: nodeId, role, leader: false, skepVersion: "1", engineVersion: "2", problems: [] },
      at: "2026-11-21T03:00:00.000Z",
    },
  ];

  it("counts from the last heartbeat, and for an unknown node without end", () => {
    const agents = new Agents(1000);
    agents.expect("n1", "one");
    agents.expect("n2", "two");
    agents.listen(new Map([beat("n1", "manager")]), 0);
    agents.listen(new Map([beat("n1", "manager")]), 1000);
    agents.listen(new Map(), 2000);
    expect([agents.silentMs("n1"), agents.silentMs("n2"), agents.silentMs("n3")]).to.deep.equal([1000, 2000, Infinity]);
    expect(agents.managersSilentMs()).to.equal(1000);
    agents.listen(new Map([beat("n1", "worker")]), 3000);
    expect(agents.silentMs("n1")).to.equal(0);
    // n2 has not told its role yet: it may be the manager that is waited for.
    expect(agents.managersSilentMs()).to.equal(3000);
    expect(agents.last("n1")?.heardAt).to.equal(3000);
    expect(agents.last("n2")).to.equal(null);
  });

  it("does not count while nobody listened", () => {
    const agents = new Agents(1000);
    agents.expect("n1", "one");
    agents.listen(new Map([beat("n1", "worker")]), 0);
    agents.listen(new Map(), 3_600_000);
    expect(agents.silentMs("n1")).to.equal(2000);
    expect(agents.managersSilentMs()).to.equal(Infinity);
  });
});
