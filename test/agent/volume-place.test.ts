import { expect } from "chai";
import type { Container, Volume } from "../../agent/docker-objects.ts";
import { placeAmong, useOf, usesPlace } from "../../agent/volume-place.ts";

const root = "/var/lib/docker/volumes";
const volume = (Name: string, Options: Record<string, string> = {}): Volume => ({
  ...{ Name, Driver: "local", Mountpoint: `${root}/${Name}/_data`, Options, Labels: {}, Scope: "local" },
});
const mounting = (mount: NonNullable<Container["Mounts"]>[number]): Pick<Container, "Mounts"> => ({ Mounts: [mount] });
const binding = (Source: string, RW = true): Pick<Container, "Mounts"> =>
  mounting({ Type: "bind", Source, Destination: "/d", RW });

describe("where a volume's bytes are", () => {
  const bound = volume("bound", { type: "none", o: "bind", device: "/srv/db" });
  const nfs = { type: "nfs", o: "addr=10.0.0.9,rw", device: ":/media" };
  const all = [volume("data"), volume("data2"), bound, volume("media", nfs), volume("films", { ...nfs, type: "nfs4" })];
  const uses = (name: string, container: Pick<Container, "Mounts">): boolean =>
    usesPlace(container, placeAmong([name], all));

  it("is used by what mounts it, and by what binds its folder or one below it to write there", () => {
    expect(uses("data", mounting({ Type: "volume", Name: "data", Destination: "/d" }))).to.equal(true);
    expect(uses("data", mounting({ Type: "volume", Name: "data2", Destination: "/d" }))).to.equal(false);
    expect(uses("data", binding(`${root}/data/_data`))).to.equal(true);
    expect(uses("data", binding(`${root}/data/_data/pg/base`))).to.equal(true);
    expect(uses("data", binding(`${root}/data2/_data`))).to.equal(false);
    expect(uses("data", binding(`${root}/data/_data`, false)), "only to read").to.equal(false);
    expect(uses("bound", binding("/srv/db/base"))).to.equal(true);
    expect(uses("bound", binding("/srv/db2"))).to.equal(false);
  });

  it("is not used by what binds a folder above it", () => {
    for (const above of ["/", root, `${root}/data`]) expect(uses("data", binding(above)), above).to.equal(false);
  });

  it("is used in part by what mounts or binds only a folder in it", () => {
    const within = volume("within", { o: "bind", device: "/srv/db/sub" });
    const typed = volume("typed", { o: "bind", device: "/srv//db/" });
    const place = placeAmong(["typed"], [...all, within, typed]);
    const mountingOf = (name: string): Pick<Container, "Mounts"> =>
      mounting({ Type: "volume", Name: name, Destination: "/d" });
    expect(useOf(binding("/srv/db"), place), "its root, as the engine writes it").to.equal("all");
    expect(useOf(mountingOf("bound"), place)).to.equal("all");
    expect(useOf(mountingOf("within"), place)).to.equal("part");
    expect(useOf(binding("/srv/db/base"), place)).to.equal("part");
    expect(
      useOf({ Mounts: [...(binding("/srv/db/base").Mounts ?? []), ...(mountingOf("typed").Mounts ?? [])] }, place),
    ).to.equal("all");
    expect(useOf(binding("/srv"), place)).to.equal(null);
  });

  it("is used by whoever mounts another volume of the same share or folder", () => {
    expect(uses("media", mounting({ Type: "volume", Name: "films", Destination: "/d" }))).to.equal(true);
    const within = volume("within", { o: "bind", device: "/srv/db/sub" });
    const place = placeAmong(["bound"], [...all, within]);
    expect([[...place.names], [...place.namesBelow]]).to.deep.equal([["bound"], ["within"]]);
    expect([...placeAmong(["gone"], all).names]).to.deep.equal(["gone"]);
  });
});
