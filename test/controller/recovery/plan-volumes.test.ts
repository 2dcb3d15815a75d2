import { expect } from "chai";
import type { PlanInput } from "../../../controller/recovery/recovery-plan.ts";
import { missingVolumes, volumeSources, type VolumeSource } from "../../../controller/recovery/volume-sources.ts";
import type { Part } from "../../../shared/repository/run.ts";
import { codes, facts, planOf, runOf, volumePart } from "./plan-input.ts";

describe("the volumes in the plan of a recovery", () => {
  it("refuses nodes that nobody mapped, and two volumes of one name on one machine", () => {
    const inventory = `version: 1
machines: { m1: { address: 192.0.2.11, role: manager } }
nodes: { a: m1, c: gone }
`;
    expect(codes(planOf({ inventory, facts: [facts("m1")] }))).to.have.members(["node-unmapped", "node-unknown"]);
    const merged = planOf({ inventory: inventory.replace("c: gone", "b: m1"), facts: [facts("m1")] });
    expect(codes(merged)).to.deep.equal(["volume-twice"]);
    const chosen = planOf({
      inventory: inventory.replace("c: gone", "b: m1"),
      facts: [facts("m1")],
      input: { withoutVolumes: ["b/data"] },
    });
    expect(codes(chosen)).to.deep.equal([]);
    expect(chosen.volumes.map(({ source, how }) => `${how} ${source.id}`)).to.deep.equal(["plain a/data"]);
    expect(chosen.leftOut.map(({ id, asked }) => [id, asked])).to.deep.equal([["b/data", true]]);
  });

  it("refuses data of two volumes in one folder of a machine, or in one within the other", () => {
    const at = (device: string, o = "bind"): Partial<Part> => ({
      volume: { name: device, driver: "local", options: { type: "none", device, o }, labels: {}, scope: "local" },
    });
    const clashing = (first: string, second: string, more: Partial<PlanInput> = {}): string[] => {
      const parts = [volumePart("a", "one", 1, at(first)), volumePart("a", "two", 1, at(second))];
      return codes(planOf({ input: { volumes: volumeSources(runOf("r1", parts), []), ...more } }));
    };
    expect(clashing("/srv/data", "/srv/data/")).to.deep.equal(["folder-twice"]);
    expect(clashing("/srv", "/srv/data")).to.deep.equal(["folder-twice"]);
    expect(clashing("/srv/data", "/srv/data2")).to.deep.equal([]);
    expect(clashing("/srv", "/srv/data", { withoutVolumes: ["a/two"] })).to.deep.equal([]);
  });

  it("refuses a volume that is there and lies elsewhere, and leaves it as it is where that one is left out", () => {
    const bind = (device: string) => ({ driver: "local", options: { type: "none", device, o: "bind" } });
    const volume = { name: "data", ...bind("/srv"), labels: {}, scope: "local" as const };
    const volumes = volumeSources(runOf("r1", [volumePart("a", "data", 9, { volume })]), []);
    const beside = (there: { driver: string; options: Record<string, string> }, input: Partial<PlanInput> = {}) =>
      planOf({
        facts: [facts("m1", { volumes: [{ name: "data", ...there }] }), facts("m2")],
        input: { volumes, ...input },
      });
    const plain = { driver: "local", options: {} };
    const folders = new Map([["m1 /srv", "full" as const]]);
    for (const there of [plain, bind("/other"), { driver: "rex", options: {} }]) {
      expect(codes(beside(there)), "with its data").to.deep.equal(["volume-exists"]);
      expect(codes(beside(there, { folders })), "only made").to.deep.equal(["volume-exists"]);
      const without = beside(there, { withoutVolumes: ["a/data"] });
      expect(codes(without)).to.deep.equal([]);
      expect(codes(without, "warning")).to.include("volume-exists");
      expect(without.volumes).to.deep.equal([]);
    }
    expect(codes(beside(bind("/srv")))).to.deep.equal([]);
    expect(codes(beside(bind("/srv")), "warning")).to.not.include("volume-exists");
    const done = new Map([["volume:m1:a/data", "done" as const]]);
    expect(codes(beside(plain, { begunSteps: done })), "nothing is done to it any more").to.deep.equal([]);
  });

  it("points out volumes without a home, from an older run, shrunk, or there already", () => {
    const older = runOf("r0", [volumePart("a", "data", 50_000_000), volumePart("b", "gone", 10)]);
    const run = runOf(
      "r1",
      [volumePart("a", "data", 1000)],
      [{ kind: "node", name: "b", hostname: "b", reason: "node-down", message: "" }],
    );
    const volumes = volumeSources(run, [older]);
    expect(volumes.map(({ id, run: from }) => `${from.id} ${id}`)).to.deep.equal(["r1 a/data", "r0 b/gone"]);
    const plan = planOf({
      facts: [facts("m1", { volumes: [{ name: "data", driver: "local", options: {} }] }), facts("m2")],
      input: { volumes },
    });
    expect(codes(plan, "warning")).to.include.members(["volume-shrank", "volume-older", "volume-exists"]);
    const inventory = `version: 1
machines: { m1: { address: 192.0.2.11, role: manager } }
nodes: { a: m1, b: gone }
`;
    const homeless = planOf({ inventory, facts: [facts("m1")], input: { volumes } });
    expect(codes(homeless, "warning")).to.include("volume-homeless");
    expect(homeless.volumes).to.have.length(1);
    expect(homeless.leftOut).to.have.length(1);
    expect(homeless.leftOut[0]).to.include({ id: "b/gone", machine: null, asked: false });
    const nowhere = [{ id: "b/lost", nodeId: "idb", why: "it failed" }];
    const asked = planOf({
      inventory,
      facts: [facts("m1")],
      input: { volumes, nowhere, withoutVolumes: ["b/gone", "b/lost"] },
    });
    expect(asked.leftOut.map(({ id, asked: said }) => [id, said])).to.deep.equal([
      ["b/gone", true],
      ["b/lost", true],
    ]);
    expect(codes(asked)).to.deep.equal([]);
  });

  it("takes a dump that failed from an older run, whatever that took, and names what no run has whole", () => {
    const failed = { status: "failed", manifest: undefined, refs: undefined } as unknown as Partial<Part>;
    const run = runOf("r1", [
      volumePart("a", "db", 0, { kind: "dump", ...failed }),
      volumePart("a", "files", 0, failed),
      volumePart("b", "lost", 0, { kind: "dump", ...failed }),
    ]);
    const before = [
      runOf("r0", [volumePart("a", "db", 5_000_000), volumePart("a", "files", 7, { kind: "dump" })]),
      runOf("r-1", [volumePart("a", "db", 50_000_000, { kind: "dump" })]),
    ];
    const volumes = volumeSources(run, before);
    expect(volumes.map(({ id, kind, run: from }) => `${from.id} ${kind} ${id}`)).to.deep.equal([
      "r0 volume a/db",
      "r0 dump a/files",
    ]);
    // Files and a dump of them have sizes of their own.
    expect(volumes.map(({ shrankFromBytes }) => shrankFromBytes)).to.deep.equal([null, null]);
    const nowhere = missingVolumes(run, volumes);
    expect(nowhere.map(({ id }) => id)).to.deep.equal(["b/lost"]);
    const plan = planOf({ input: { volumes, nowhere } });
    expect(plan.findings.find(({ text }) => text.includes("b/lost"))).to.include({ severity: "warning" });
    expect(plan.leftOut.map(({ id }) => id)).to.deep.equal(["a/files", "b/lost"]);
  });

  it("does not take a volume that was only made for one that was restored, when the recovery goes on", () => {
    const bound = { name: "data", driver: "local", options: { type: "none", device: "/srv", o: "bind" }, labels: {} };
    const parts = [volumePart("a", "data", 9, { volume: { ...bound, scope: "local" } }), volumePart("b", "data", 9)];
    const volumes = volumeSources(runOf("r1", parts), []);
    const folders = new Map([["m1 /srv", "full" as const]]);
    const asked = { volumes, folders, withoutVolumes: ["b/data"] };
    const first = planOf({ input: asked });
    const steps = first.steps.flatMap(({ id }) => (id.includes("/data") ? [id] : []));
    expect(steps).to.deep.equal(["make:m1:a/data", "make:m2:b/data"]);
    const begunSteps = new Map(steps.map((id) => [id, "done" as const]));
    const leftOut = (input: Partial<PlanInput>): unknown =>
      planOf({ input: { ...asked, begunSteps, ...input } }).leftOut.map(({ id, asked: said }) => [id, said]);
    expect(leftOut({})).to.deep.equal([
      ["a/data", false],
      ["b/data", true],
    ]);
    // Forgotten: before the swarm was begun it is restored, after that it is told.
    const forgotten = { withoutVolumes: [] };
    expect(leftOut(forgotten)).to.deep.equal([["a/data", false]]);
    expect(planOf({ input: { ...asked, begunSteps, ...forgotten } }).steps.map(({ id }) => id)).to.include(
      "volume:m2:b/data",
    );
    expect(leftOut({ ...forgotten, begun: true })).to.deep.equal([
      ["a/data", false],
      ["b/data", false],
    ]);
    const restored = new Map([["volume:m2:b/data", "done" as const]]);
    expect(leftOut({ begun: true, begunSteps: restored })).to.deep.equal([["a/data", false]]);
  });

  it("does not bring back a volume that was removed before the run, nor what Skep keeps for itself", () => {
    const own = volumePart("a", "skep_agent_state", 10, {
      volume: {
        name: "skep_agent_state",
        driver: "local",
        options: {},
        labels: { "io.skep.own": "true" },
        scope: "local",
      },
    });
    const found: VolumeSource[] = volumeSources(runOf("r1", [volumePart("a", "data", 1), own]), [
      runOf("r0", [volumePart("a", "removed", 1)]),
    ]);
    expect(found.map(({ id }) => id)).to.deep.equal(["a/data"]);
  });
});
