import { expect } from "chai";
import type { Docker } from "../../../agent/docker.ts";
import type { Container, Volume } from "../../../agent/docker-objects.ts";
import { containerName } from "../../../agent/docker-objects.ts";
import { findContainer } from "../../../agent/quiesce/container-command.ts";

const patient = new AbortController().signal;
const bound = (Name: string, device: string): Volume => ({
  ...{ Name, Driver: "local", Mountpoint: `/var/lib/docker/volumes/${Name}/_data`, Labels: {}, Scope: "local" },
  Options: { type: "none", o: "bind", device },
});
const volumes = [bound("a-data", "/srv/app"), bound("b-data", "/srv/app"), bound("sub", "/srv/app/db")];

type Mount = NonNullable<Container["Mounts"]>[number];
const volume = (Name: string): Mount => ({ Type: "volume", Name, Destination: "/d" });
const bind = (Source: string): Mount => ({ Type: "bind", Source, Destination: "/d", RW: true });

interface Place {
  volume: string;
  container?: string;
  saidBy?: string;
}

/** Name of the container that a command would run in, of these; `db.1 of db` is a task of service db. */
async function where(containers: Record<string, Mount>, { container, ...place }: Place): Promise<string | null> {
  const running = Object.entries(containers).map(([called, mount]) => {
    const [name = "", service] = called.split(" of ");
    const Labels = service === undefined ? {} : { "com.docker.swarm.service.name": service };
    return { Id: name, Names: [`/${name}`], State: "running", Labels, Mounts: [mount] };
  });
  const docker = { containers: () => Promise.resolve(running), volumes: () => Promise.resolve(volumes) };
  const found = await findContainer({ container: container ?? null, ...place }, docker as unknown as Docker, patient);
  return found === null ? null : containerName(found);
}

describe("the container that a command runs in", () => {
  it("is the first that uses the volume, by whatever name, or that binds its folder", async () => {
    expect(await where({ db: volume("b-data") }, { volume: "a-data" })).to.equal("db");
    expect(await where({ db: bind("/srv/app") }, { volume: "a-data" })).to.equal("db");
    expect(await where({ b: volume("a-data"), a: volume("a-data") }, { volume: "a-data" })).to.equal("a");
    expect(await where({ db: volume("other") }, { volume: "a-data" })).to.equal(null);
  });

  it("is none that uses only a folder in it, but where the label is its own", async () => {
    for (const part of [bind("/srv/app/db"), volume("sub")]) {
      expect(await where({ a: part, web: volume("a-data") }, { volume: "a-data" })).to.equal("web");
      expect(await where({ a: part }, { volume: "a-data" })).to.equal(null);
      expect(await where({ a: part, web: volume("a-data") }, { volume: "a-data", saidBy: "a" })).to.equal("a");
    }
  });

  it("is of those whose label it is one that uses the volume", async () => {
    const tasks = { "db.1 of db": volume("a-data"), "db.2 of db": volume("other"), app: volume("other") };
    expect(await where(tasks, { volume: "other", saidBy: "db" })).to.equal("db.2");
    expect(await where({ app: volume("a-data") }, { volume: "a-data", saidBy: "db" })).to.equal(null);
  });

  it("is the one that was named, whatever it uses", async () => {
    const all = { "db.1 of db": volume("a-data"), tools: volume("other") };
    expect(await where(all, { volume: "a-data", container: "tools" })).to.equal("tools");
    expect(await where(all, { volume: "other", container: "db" })).to.equal("db.1");
  });
});
