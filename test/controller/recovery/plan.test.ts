import { expect } from "chai";
import type { MachineFacts } from "../../../controller/recovery/machine-facts.ts";
import type { PlanInput, RecoveryPlan } from "../../../controller/recovery/recovery-plan.ts";
import { volumeSources } from "../../../controller/recovery/volume-sources.ts";
import type { OldService } from "../../../controller/recovery/swarm-view.ts";
import { SkepError } from "../../../shared/errors.ts";
import { codes, facts, oldNode, planOf, runOf, service, volumePart } from "./plan-input.ts";

const after = (name: string, needed: string): OldService => {
  const one = service(name);
  return { ...one, spec: { ...one.spec, Labels: { "io.skep.after": needed } } };
};

describe("the plan of a recovery", () => {
  it("restores volumes before the swarm starts, joins before services, and Skep's own last", () => {
    const plan = planOf({
      input: {
        view: {
          clusterId: "cluster",
          nodes: [oldNode("a"), oldNode("b", "worker")],
          services: [service("db"), after("web", "db"), service("skep_agent", { own: true })],
          networks: [],
          dataPathPort: 4789,
        },
      },
    });
    expect(codes(plan)).to.deep.equal([]);
    const position = (id: string): number => {
      const at = plan.steps.findIndex((step) => step.id === id);
      return at >= 0 ? at : expect.fail(`no step ${id}`);
    };
    const order = ["fence", "kit:m1", "volume:m1:a/data", "take-over", "swarm", "join:m2", "nodes", "release:1"];
    const positions = [...order, "release:2", "skep", "compare", "clean:m2"].map(position);
    expect(positions).to.deep.equal([...positions].sort((a, b) => a - b));
    for (const step of plan.steps) {
      for (const before of step.after) expect(position(before)).to.be.below(position(step.id));
    }
  });

  it("brings images before the swarm starts, and no step waits for itself or for one that is not there", () => {
    const view = {
      clusterId: "cluster",
      nodes: [oldNode("a"), oldNode("b", "worker")],
      services: [service("web", { image: "web:1" })],
      networks: [],
      dataPathPort: 4789,
    };
    const { steps } = planOf({ input: { view } });
    const ids = steps.map(({ id }) => id);
    expect(ids).to.include.members(["images:m1", "images:m2", "image-names"]);
    for (const { id, after: before } of steps) {
      for (const other of before)
        expect(ids.indexOf(other), `${id} after ${other}`).to.be.within(0, ids.indexOf(id) - 1);
    }
    expect(steps.find(({ id }) => id === "take-over")?.after).to.include("image-names");
  });

  it("is refused before anything is touched where the repository could not be taken over, unless that is accepted", () => {
    const unproven = new SkepError({
      ...{ code: "SKEP_REPOSITORY_UNPROVEN", message: "repository/3 does not open", permanent: true },
      hint: "bring it back, or --accept-foreign",
    });
    const refused = planOf({ input: { unproven } });
    expect(codes(refused)).to.deep.equal(["repository-unproven"]);
    const text = refused.findings.map((finding) => finding.text).join("\n");
    expect(text).to.contain("repository/3 does not open").and.contain("--accept-foreign");
    const accepted = planOf({ input: { unproven, acceptForeign: true } });
    expect(codes(accepted)).to.deep.equal([]);
    expect(codes(accepted, "warning")).to.deep.equal(["repository-unproven"]);
    expect(codes(planOf({ input: { unproven: null } }), "warning")).to.deep.equal([]);
  });

  it("has the same steps in mode rebuild, and says what is other there", () => {
    const view = {
      clusterId: "cluster",
      nodes: [oldNode("a"), oldNode("b", "worker")],
      services: [service("db"), service("migration", { mode: "job", ended: true }), service("skep", { own: true })],
      networks: [{ name: "inside", driver: "overlay", subnets: ["10.0.1.0/24"] }],
      dataPathPort: 4789,
    };
    const subnets = new Map([["10.0.1.0/24", "10.7.7.0/24"]]);
    const [raft, rebuild] = [planOf({ input: { view } }), planOf({ input: { view, mode: "rebuild", subnets } })];
    const order = (plan: RecoveryPlan): unknown => plan.steps.map(({ id, after: before }) => [id, before]);
    expect(order(rebuild)).to.deep.equal(order(raft));
    const title = (id: string): string => rebuild.steps.find((step) => step.id === id)?.title ?? "";
    expect(title("swarm")).to.contain("a new swarm on m1");
    expect(title("nodes")).to.contain("secrets, configs and services, all held");
    expect(codes(rebuild)).to.deep.equal([]);
    expect(codes(rebuild, "note")).to.include.members(["rebuild-identity", "rebuild-key", "subnet-moved", "job"]);
    expect(codes(raft, "note").filter((code) => /rebuild|moved/.test(code))).to.deep.equal([]);
    expect(rebuild.waves.flat().map(({ name }) => name)).to.deep.equal(["db"]);
  });

  it("refuses a subnet that nobody has, and a new one that a machine reaches directly", () => {
    const networks = [{ name: "inside", driver: "overlay", subnets: ["10.0.1.0/24"] }];
    const view = {
      clusterId: "cluster",
      nodes: [oldNode("a"), oldNode("b", "worker")],
      services: [],
      networks,
      dataPathPort: 4789,
    };
    const moved = (from: string, to: string): string[] =>
      codes(planOf({ input: { view, mode: "rebuild", subnets: new Map([[from, to]]) } }));
    expect(moved("10.0.2.0/24", "10.7.7.0/24")).to.deep.equal(["subnet-unknown"]);
    expect(new Set(moved("10.0.1.0/24", "192.0.2.0/25"))).to.deep.equal(new Set(["subnet"]));
    networks.push({ name: "outside", driver: "overlay", subnets: ["10.8.0.0/16"] });
    expect(moved("10.0.1.0/24", "10.8.1.0/24")).to.deep.equal(["subnet-clash"]);
  });

  it("takes machines that are in a swarm for its own only once it has begun one", () => {
    const inSwarm = (clusterId: string): MachineFacts[] => [
      facts("m1", { swarmState: "active", clusterId }),
      facts("m2", { swarmState: "active" }),
    ];
    const plan = (mode: "raft" | "rebuild", begun: boolean, clusterId: string): string[] =>
      codes(planOf({ facts: inSwarm(clusterId), input: { mode, begun } }));
    expect(plan("rebuild", false, "new")).to.deep.equal(["swarm-active", "swarm-active"]);
    expect(plan("rebuild", true, "new")).to.deep.equal([]);
    expect(plan("raft", true, "new")).to.deep.equal(["swarm-active"]);
    // A worker does not know its swarm's id.
    expect(plan("raft", true, "cluster")).to.deep.equal([]);
    expect(plan("raft", false, "cluster")).to.deep.equal(["swarm-active"]);
  });

  it("refuses what would fail later, all at once", () => {
    const ill = facts("m1", {
      swarmState: "active",
      clusterId: "other",
      architecture: "riscv64",
      freeBytes: 100,
      clockOffsetMs: 90_000,
    });
    const plan = planOf({ facts: [ill, facts("m2", { listening: [2377], listeningUdp: [4789], routes: [] })] });
    expect(codes(plan)).to.have.members([
      "swarm-active",
      "architecture",
      "disk-room",
      "clock",
      "port-taken",
      "port-taken",
    ]);
    const subnets = planOf({
      facts: [facts("m1"), facts("m2", { routes: ["10.0.1.0/25"] })],
      input: {
        view: {
          clusterId: "cluster",
          nodes: [oldNode("a"), oldNode("b", "worker")],
          services: [],
          networks: [{ name: "inside", driver: "overlay", subnets: ["10.0.1.0/24"] }],
          dataPathPort: 4789,
        },
      },
    });
    expect(codes(subnets)).to.deep.equal(["subnet"]);
  });

  it("asks no room for what this recovery has brought, and warns of what it began to bring", () => {
    const volumes = volumeSources(
      runOf("r1", [volumePart("a", "data", 50_000_000), volumePart("a", "more", 50_000_000)]),
      [],
    );
    const kit = { freeBytes: 10 ** 9, isDataRoots: false };
    const machines = [facts("m1", { freeBytes: 80_000_000, kit }), facts("m2")];
    const begunWith = (...begun: [string, "started" | "failed" | "done"][]): string[] =>
      planOf({ facts: machines, input: { volumes, begunSteps: new Map(begun) } })
        .findings.filter(({ code }) => code === "disk-room")
        .map(({ severity }) => severity);
    const steps = planOf({ input: { volumes } }).steps.flatMap(({ id }) => (id.startsWith("volume:m1:") ? [id] : []));
    const [first = "", ...others] = steps;
    expect(begunWith()).to.deep.equal(["error"]);
    expect(begunWith(...steps.map((id): [string, "done"] => [id, "done"]))).to.deep.equal([]);
    expect(begunWith([first, "failed"], ...others.map((id): [string, "done"] => [id, "done"]))).to.deep.equal([
      "warning",
    ]);
    expect(begunWith(["volume:m2:other", "started"])).to.deep.equal(["error"]);
  });

  it("asks for room where the kit comes to, with the volumes where both lie on one filesystem", () => {
    const roomOf = (freeBytes: number, kit: MachineFacts["kit"], done = false): string[] => {
      const begunSteps = new Map(done ? [["kit:m1", "done" as const]] : []);
      return codes(planOf({ facts: [facts("m1", { freeBytes, kit }), facts("m2")], input: { begunSteps } }));
    };
    expect(roomOf(10 ** 12, { freeBytes: 10 ** 8, isDataRoots: false })).to.deep.equal(["kit-room"]);
    expect(roomOf(10 ** 12, { freeBytes: 10 ** 8, isDataRoots: false }, true)).to.deep.equal([]);
    expect(roomOf(10 ** 8, { freeBytes: 10 ** 9, isDataRoots: true })).to.deep.equal(["disk-room"]);
    expect(roomOf(10 ** 8, { freeBytes: 10 ** 9, isDataRoots: false })).to.deep.equal([]);
  });

  it("says until when a certificate counts, who signs it, and another port of overlays", () => {
    const view = {
      ...{ clusterId: "cluster", nodes: [oldNode("a"), oldNode("b", "worker")], services: [], networks: [] },
      ...{ dataPathPort: 4790, externalCas: ["https://ca.example"], certificateExpiresAt: "2026-12-26T03:00:00.000Z" },
    };
    const inRaft = planOf({ input: { view } });
    expect(codes(inRaft, "warning")).to.include.members(["external-ca", "certificate"]);
    expect(codes(inRaft, "note")).to.include("data-path-port");
    const rebuilt = codes(planOf({ input: { view, mode: "rebuild" } }), "warning");
    expect(rebuilt).to.include("external-ca").and.not.include("certificate");
    expect(codes(planOf({ input: { view: { ...view, externalCas: [] } } }), "note")).to.include("certificate");
  });

  it("leaves ended jobs alone, and names what no machine can satisfy", () => {
    const services = [
      service("migration", { mode: "job", ended: true }),
      service("report", { mode: "job" }),
      service("pinned", { constraints: ["node.labels.zone == nowhere"] }),
      service("moved", { constraints: ["node.hostname==a"] }),
    ];
    const plan = planOf({
      input: {
        view: {
          clusterId: "cluster",
          nodes: [oldNode("a"), oldNode("b", "worker")],
          services,
          networks: [],
          dataPathPort: 4789,
        },
      },
    });
    expect(plan.endedJobs).to.deep.equal(["idmigration"]);
    expect(plan.waves.flat().map(({ name }) => name)).to.deep.equal(["moved", "pinned"]);
    const constraints = plan.findings.filter(({ code }) => code === "constraint");
    expect(constraints.map(({ text }) => text).join())
      .to.contain("pinned")
      .and.not.contain("moved");
  });

  it("sets engines up before anything comes to them, and none once the swarm was begun", () => {
    const setup = new Map([
      [
        "m1",
        {
          settings: ["debug"],
          wanted: { settings: { debug: true }, mode: 0o644 },
          files: [],
          plugins: [],
          clashes: [],
        },
      ],
    ]);
    const stepsOf = (input: Partial<PlanInput>): string[] =>
      planOf({ input: { setup, ...input } }).steps.map(({ id, after }) => `${id} after ${after.join(", ")}`);
    expect(stepsOf({ applyNodeFacts: true })).to.include.members(["setup:m1 after fence", "kit:m1 after setup:m1"]);
    expect(stepsOf({ applyNodeFacts: true })).to.include("kit:m2 after fence");
    expect(stepsOf({})).to.include("kit:m1 after fence");
    expect(stepsOf({ applyNodeFacts: true, begun: true })).to.include("kit:m1 after fence");
    const begunSteps = new Map([["setup:m1", "done" as const]]);
    expect(stepsOf({ applyNodeFacts: true, begun: true, begunSteps })).to.include("kit:m1 after setup:m1");
  });
});
