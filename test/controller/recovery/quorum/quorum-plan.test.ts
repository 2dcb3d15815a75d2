import { expect } from "chai";
import { decodeInventory } from "../../../../controller/recovery/inventory.ts";
import { planRecovery } from "../../../../controller/recovery/plan.ts";
import { entryText, wayOf, type PlannedSurvivor } from "../../../../controller/recovery/quorum/planned-survivor.ts";
import { compareLogs } from "../../../../controller/recovery/quorum/survivor.ts";
import type { PlanInput, RecoveryPlan } from "../../../../controller/recovery/recovery-plan.ts";
import { facts, oldNode, service, volumePart, runOf } from "../plan-input.ts";
import { volumeSources } from "../../../../controller/recovery/volume-sources.ts";

const survivor: PlannedSurvivor = {
  machine: "m1",
  nodeId: "ida",
  hostname: "a",
  host: "192.0.2.11",
  port: 2377,
  term: 7,
  commitIndex: 40,
  lastIndex: 40,
  managers: 3,
  majority: 2,
  newer: [],
  choice: null,
  others: [],
  locked: false,
};

const living = facts("m1", { hostname: "a", swarmState: "active", nodeId: "ida", isManager: true });
const nodes = [oldNode("a"), oldNode("b"), oldNode("c"), oldNode("w", "worker")];

function planOf(change: Partial<PlanInput> & { text?: string } = {}): RecoveryPlan {
  const text =
    change.text ??
    `version: 1
machines:
  m1: { address: 192.0.2.11, role: manager }
  m2: { address: 192.0.2.12, role: manager }
nodes: { a: m1, b: m2, c: gone, w: survives }
`;
  return planRecovery({
    run: { id: "r1", startedAt: "2026-11-26T03:00:00.000Z" },
    copiedNodeId: "ida",
    view: { clusterId: "cluster", dataPathPort: 4789, nodes, services: [], networks: [] },
    volumes: volumeSources(
      runOf(
        "r1",
        ["a", "b", "w"].map((name) => volumePart(name, "data", 1000)),
      ),
      [],
    ),
    inventory: decodeInventory(text, "inventory.yml").inventory,
    facts: new Map([living, facts("m2", { freeBytes: 10 ** 12 })].map((one) => [one.name, one])),
    mode: "quorum",
    survivor,
    runJobs: false,
    begun: false,
    subnets: new Map(),
    ...change,
  });
}

const codes = (plan: RecoveryPlan, severity = "error"): string[] =>
  plan.findings.filter((finding) => finding.severity === severity).map(({ code }) => code);

describe("the plan of a recovery from a manager that survives", () => {
  it("restores only what replaces the dead, saves before it acts, and holds nothing", () => {
    const view = { clusterId: "cluster", dataPathPort: 4789, nodes, services: [service("web")], networks: [] };
    const plan = planOf({ view });
    expect(codes(plan)).to.deep.equal([]);
    const ids = plan.steps.map(({ id }) => id);
    expect(ids).to.deep.equal(
      "fence save kit:m2 volume:m2:b/data take-over swarm join:m2 nodes release:1 compare probe clean:m2".split(" "),
    );
    for (const step of plan.steps) {
      for (const before of step.after) expect(ids.indexOf(before)).to.be.within(0, ids.indexOf(step.id) - 1);
    }
    expect(plan.steps.find(({ id }) => id === "swarm")?.title).to.contain("its engine goes on");
    expect(plan.surviving.map(({ hostname }) => hostname)).to.deep.equal(["w"]);
  });

  it("refuses while a majority survives, but not what it made itself", () => {
    const two = { ...survivor, others: [{ machine: "m2", nodeId: "idb" }] };
    const both = new Map(
      [living, facts("m2", { hostname: "b", nodeId: "idb", isManager: true })].map((one) => [one.name, one]),
    );
    expect(codes(planOf({ survivor: two, facts: both }))).to.deep.equal(["quorum-lives"]);
    expect(codes(planOf({ survivor: two, facts: both, begun: true }))).to.deep.equal([]);
  });

  it("knows its survivor while the swarm directory is exchanged, and its engine is in no swarm", () => {
    const away = new Map([facts("m1", { hostname: "a" }), facts("m2")].map((one) => [one.name, one]));
    expect(codes(planOf({ facts: away }))).to.include("survivor-unmapped");
    const begun = planOf({ facts: away, begun: true });
    expect(codes(begun)).to.deep.equal([]);
    expect(begun.machines[0]).to.include({ name: "m1", stays: true });
  });

  it("refuses an inventory that contradicts what the machines say", () => {
    const text = (line: string): string => `version: 1
machines:
  m1: { address: 192.0.2.11, role: manager }
  m2: { address: 192.0.2.12, role: manager }
nodes: ${line}
`;
    const of = (line: string): string[] => codes(planOf({ text: text(line) }));
    expect(of("{ a: m1, b: m2, c: survives, w: survives }")).to.deep.equal(["manager-unlisted"]);
    expect(of("{ a: gone, b: m2, c: m1, w: survives }")).to.include.members(["node-lives", "survivor-unmapped"]);
    expect(of("{ a: m1, b: m1, c: gone, w: survives }")).to.deep.equal(["survivor-shared"]);
    expect(of("{ a: m1, b: m2, c: gone }")).to.deep.equal(["node-unmapped"]);
    expect(codes(planOf({ survivor: null }))).to.deep.equal(["no-survivor"]);
    expect(codes(planOf({ survivor: { ...survivor, host: "10.9.9.9" } }))).to.deep.equal(["survivor-address"]);
  });

  it("asks what becomes of entries that may have been acknowledged, and says what keeping them costs", () => {
    const change = { what: "create", kind: "config", id: "c1", name: "last", ordered: true } as const;
    const newer = [{ index: 41, term: 6, changes: [change] }];
    const undecided = planOf({ survivor: { ...survivor, newer } });
    expect(codes(undecided)).to.deep.equal(["entries-undecided"]);
    expect(undecided.findings.map(({ text }) => text).join("\n")).to.contain("create config last");
    const kept = planOf({ survivor: { ...survivor, newer, choice: "keep" } });
    expect(codes(kept)).to.deep.equal([]);
    expect(codes(kept, "warning")).to.include.members(["entries-newer", "survivor-restarts"]);
    const dropped = codes(planOf({ survivor: { ...survivor, newer, choice: "drop" } }), "warning");
    expect(dropped).to.include("entries-newer").and.not.include("survivor-restarts");
    expect(wayOf({ newer, choice: "drop" })).to.equal("force");
    expect(wayOf({ newer, choice: "keep" })).to.equal("rebase");
    // Tasks come and go by themselves, and a new leader leaves a mark.
    const task = { what: "update", kind: "task", id: "t1", name: "web.1", ordered: false } as const;
    const idle = [
      { index: 41, term: 6, changes: [task] },
      { index: 42, term: 7, changes: [] },
    ];
    expect(codes(planOf({ survivor: { ...survivor, newer: idle } }))).to.deep.equal([]);
    expect(idle.map(entryText)).to.deep.equal([
      "entry 41 (term 6): update task web.1",
      "entry 42 (term 7): a new leader's mark",
    ]);
  });

  it("updates a service bound to a dead node, and leaves one alone that is kept away from it", () => {
    const bound = (name: string, constraint: string) => service(name, { constraints: [constraint] });
    const services = [
      bound("db", "node.hostname==b"),
      bound("byid", "node.id == idb"),
      bound("away", "node.hostname!=b"),
      bound("there", "node.hostname==w"),
    ];
    const plan = planOf({ view: { clusterId: "cluster", dataPathPort: 4789, nodes, services, networks: [] } });
    const told = plan.findings
      .filter(({ code }) => code.startsWith("service-"))
      .map(({ code, text }) => `${code} ${text.split(" ")[0] ?? ""}`);
    expect(told.sort()).to.deep.equal(["service-kept-away away", "service-rebound byid", "service-rebound db"]);
    expect(plan.steps.find(({ id }) => id === "release:1")?.title).to.contain("bind db, byid");
    // `there` may run on the worker that survives, which is no machine of the inventory.
    expect(codes(plan, "warning")).to.not.include("constraint");
  });
});

describe("the choice between managers that survive", () => {
  it("takes the log that a vote would take: by term, then index, then what it knows to be committed", () => {
    const log = (lastTerm: number, lastIndex: number, commitIndex: number) => ({
      lastTerm,
      proof: { lastIndex, commitIndex },
    });
    const sorted = [log(3, 9, 9), log(4, 5, 5), log(4, 7, 5), log(4, 7, 6)];
    for (const [at, a] of sorted.entries()) {
      for (const [other, b] of sorted.entries()) expect(Math.sign(compareLogs(a, b))).to.equal(Math.sign(at - other));
    }
  });
});
