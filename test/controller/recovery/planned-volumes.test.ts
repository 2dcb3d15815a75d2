import { expect } from "chai";
import { folderKey, planVolumes, type VolumePlanInput } from "../../../controller/recovery/planned-volumes.ts";
import { volumeSources, type VolumeSource } from "../../../controller/recovery/volume-sources.ts";
import type { Part } from "../../../shared/repository/run.ts";
import { runOf, service, volumePart } from "./plan-input.ts";

const nfs = { driver: "local", options: { type: "nfs", device: ":/export", o: "addr=192.0.2.9,rw" } };
const bind = { driver: "local", options: { type: "none", device: "/srv/data", o: "bind" } };
const load = { argv: ["load"], container: null, user: null };

function sources(...parts: { name: string; volume?: Partial<NonNullable<Part["volume"]>>; more?: Partial<Part> }[]) {
  const made = parts.map(({ name, volume, more }) => {
    const part = volumePart("a", name, 1000, more);
    if (part.volume === undefined) throw new TypeError("a part without a volume");
    return { ...part, volume: { ...part.volume, ...volume } };
  });
  return volumeSources(runOf("r1", made), []);
}

function planned(found: readonly VolumeSource[], more: Partial<VolumePlanInput> = {}): string[] {
  const { volumes, dumps, leftOut } = planVolumes({
    homed: found.map((source) => ({ source, machine: "m1" })),
    services: [],
    withoutVolumes: [],
    folders: new Map(),
    former: () => null,
    begun: false,
    present: () => null,
    ...more,
  });
  return [
    ...volumes.map(({ source, how }) => `${how} ${source.id}`),
    ...dumps.map(({ source, service: into }) => `load ${source.id} into ${into}`),
    ...leftOut.map(({ id, asked, why }) => `without ${id}${asked ? ", asked" : ""}: ${why}`),
  ];
}

describe("what becomes of a volume in a recovery", () => {
  it("is that it is restored where its bytes lay in Docker's own folder, or in one of the host that is empty now", () => {
    const found = sources({ name: "plain" }, { name: "bound", volume: bind });
    expect(planned(found)).to.deep.equal(["folder a/bound", "plain a/plain"]);
  });

  it("is that nothing is written over files in its folder, but for what this recovery brought there itself", () => {
    const found = sources({ name: "bound", volume: bind });
    const folders = new Map([[folderKey("m1", "/srv/data"), "full" as const]]);
    const [made, without, ...more] = planned(found, { folders });
    expect([made, ...more]).to.deep.equal(["make a/bound"]);
    expect(without).to.match(/^without a\/bound: .*\/srv\/data/);
    expect(planned(found, { folders, former: () => "started" })).to.deep.equal(["folder a/bound"]);
  });

  it("is that storage which may have outlived the swarm is made anew and not written to, by a volume or by a dump", () => {
    const found = sources(
      { name: "share", volume: nfs },
      { name: "plugged", volume: { driver: "rex" } },
      { name: "rows", volume: nfs, more: { kind: "dump", load } },
    );
    const said = planned(found, { services: [service("db", { volumes: ["rows"] })] });
    expect(said.slice(0, 3)).to.deep.equal(["make a/plugged", "make a/rows", "make a/share"]);
    expect(said.slice(3).map((line) => line.split(":")[0])).to.deep.equal([
      "without a/plugged",
      "without a/rows",
      "without a/share",
    ]);
  });

  it("is not even that it is made, where its options held a password", () => {
    const options = { type: "cifs", device: "//nas/x", o: "username=me,password=[redacted]" };
    const [without, ...more] = planned(sources({ name: "share", volume: { options } }));
    expect(without).to.match(/^without a\/share: .*password/);
    expect(more).to.deep.equal([]);
  });

  it("is that its dump is loaded into the service that was named, else into the one that uses it", () => {
    const services = [service("db", { volumes: ["rows", "named", "task", "said", "plain"] }), service("loader")];
    const found = sources(
      { name: "rows", more: { kind: "dump", load } },
      { name: "named", more: { kind: "dump", load: { ...load, container: "loader" } } },
      { name: "task", more: { kind: "dump", load: { ...load, container: "loader.1.abc" } } },
      { name: "said", more: { kind: "dump", load: { ...load, saidBy: "loader" } } },
      { name: "plain", more: { kind: "dump", load: { ...load, saidBy: "by-hand" } } },
      { name: "foreign", more: { kind: "dump", load: { ...load, container: "by-hand" } } },
      { name: "silent", more: { kind: "dump" } },
    );
    const said = planned(found, { services });
    expect(said.filter((line) => line.startsWith("make"))).to.have.length(7);
    expect(said.filter((line) => line.startsWith("load"))).to.deep.equal([
      "load a/named into loader",
      "load a/plain into db",
      "load a/rows into db",
      "load a/said into loader",
      "load a/task into loader",
    ]);
    expect(said.filter((line) => line.startsWith("without"))).to.satisfy(
      ([foreign = "", silent = ""]: string[]) => foreign.includes("no service") && silent.includes("skep.load"),
    );
  });

  describe("of dumps of a service that ran on several nodes", () => {
    const dump = { kind: "dump", load } as const;
    const before = runOf("r0", [volumePart("a", "rows", 9, dump)]);
    const silent = { kind: "node", name: "a", hostname: "a", reason: "node-down", message: "" } as const;
    const found = volumeSources({ ...runOf("r1", [volumePart("b", "rows", 9, dump)], [silent]) }, [
      { ...before, startedAt: "2026-11-25T03:00:00.000Z" },
    ]);
    const on = (machines: string[], more: Partial<VolumePlanInput>) =>
      planVolumes({
        homed: found.map((source, index) => ({ source, machine: machines[index] ?? "m1" })),
        services: [service("db", { volumes: ["rows"] })],
        ...{ withoutVolumes: [], folders: new Map(), former: () => null, begun: false, present: () => null, ...more },
      });
    const idsOf = (some: readonly { source: VolumeSource | null }[]): unknown => some.map(({ source }) => source?.id);

    it("is that one task gets the newest alone, and the others are named", () => {
      const { volumes, dumps, leftOut } = on(["m1", "m2"], {});
      expect(idsOf(dumps)).to.deep.equal(["b/rows"]);
      expect(dumps[0]).to.include({ service: "db", machine: "m2", elsewhere: true });
      expect(idsOf(volumes)).to.deep.equal(["a/rows", "b/rows"]);
      expect(leftOut[0]).to.include({ id: "a/rows", asked: false, mayLoad: false });
      expect(leftOut[0]?.why).to.contain("b/rows of run r1");
      expect(idsOf(on(["m1", "m1"], {}).volumes), "one volume of one machine").to.deep.equal(["b/rows"]);
    });

    it("is that the operator may take the older one, and nothing goes over one that was loaded", () => {
      const chosen = on(["m1", "m2"], { withoutVolumes: ["b/rows"] });
      expect(idsOf(chosen.dumps)).to.deep.equal(["a/rows"]);
      expect(chosen.leftOut[0]).to.include({ id: "b/rows", asked: true, mayLoad: false });
      const former: VolumePlanInput["former"] = (what, _, id) => (what === "load" && id === "a/rows" ? "done" : null);
      expect(idsOf(on(["m1", "m2"], { former }).dumps)).to.deep.equal(["a/rows"]);
    });

    it("is that each of several tasks gets its machine's own", () => {
      for (const more of [{ replicas: 2 }, { mode: "global" as const, replicas: 0 }]) {
        const { dumps, leftOut } = on(["m1", "m2"], { services: [service("db", { volumes: ["rows"], ...more })] });
        expect(dumps.map(({ machine, elsewhere }) => [machine, elsewhere])).to.deep.equal([
          ["m1", false],
          ["m2", false],
        ]);
        expect(leftOut).to.deep.equal([]);
      }
    });
  });

  it("is that it is made at most, where the operator leaves it out", () => {
    const found = sources(
      { name: "bound", volume: bind },
      { name: "plugged", volume: { driver: "rex" } },
      { name: "rows", more: { kind: "dump", load } },
    );
    const services = [service("db", { volumes: ["rows"] })];
    expect(planned(found, { services, withoutVolumes: ["a/bound", "a/plugged", "a/rows"] })).to.deep.equal([
      "make a/bound",
      "make a/rows",
      "without a/bound, asked: left out by --without-volume",
      "without a/plugged, asked: left out by --without-volume",
      "without a/rows, asked: left out by --without-volume",
    ]);
  });
});
