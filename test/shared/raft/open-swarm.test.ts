import { expect } from "chai";

import { SkepError } from "../../../shared/errors.ts";
import { diffSwarms } from "../../../shared/raft/diff.ts";
import { openSwarm, type OpenedSwarm } from "../../../shared/raft/open-swarm.ts";
import { sealRecord } from "../../../shared/raft/sealed-record.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";
import { dek, plainWal, request, syntheticSwarm } from "./synthetic-swarm.ts";

type Objects = Parameters<typeof request>[1];

/** A swarm of configs 3 and 4, and what the requests of `steps` (objects, 1 create, 2 update, 3 remove) make of it. */
async function swarmOf(...steps: [Objects, number?][]): Promise<OpenedSwarm> {
  const wal = plainWal(4);
  steps.forEach(([objects, action], at) => wal.entry(5 + at, sealRecord(request(5 + at, objects, action), dek)));
  return openSwarm(memoryFiles(await syntheticSwarm(wal.state(4 + steps.length).finish())));
}

const service = (id: string, name: string, image: string, env: string[] = []): Objects[number] => ({
  case: "service",
  value: {
    id,
    spec: {
      annotations: { name, labels: { "com.example.x": image } },
      mode: { case: "replicated", value: { replicas: 3n } },
      task: { runtime: { case: "container", value: { image, env } } },
    },
  },
});

const secret = (id: string, name: string, text: string): Objects[number] => ({
  case: "secret",
  value: { id, spec: { annotations: { name }, data: Buffer.from(text) } },
});

describe("an opened swarm", () => {
  it("lists a kind by name, and gets an object by id, name or an id's beginning", async () => {
    const swarm = await swarmOf([[service("svc1", "web", "web:1")]], [[service("svc2", "api", "api:1")]]);
    expect(swarm.list("service").map(({ name }) => name)).to.deep.equal(["api", "web"]);
    for (const which of ["svc2", "api"]) expect(swarm.get("service", which, false)).to.include({ ID: "svc2" });
    expect(swarm.get("service", "none", false)).to.equal(null);
    expect(() => swarm.get("service", "svc", false)).to.throw(SkepError, "2 objects of kind service go by svc");
  });

  it("shows a secret's data only when it is to be revealed", async () => {
    const swarm = await swarmOf([[secret("s1", "password", "hunter2")]]);
    const data = Buffer.from("hunter2").toString("base64");
    expect(JSON.stringify(swarm.get("secret", "password", true))).to.contain(data);
    expect(JSON.stringify(swarm.get("secret", "password", false))).not.to.contain(data);
  });
});

describe("the difference of two swarms", () => {
  it("names what was added, removed and changed, by field", async () => {
    const before = await swarmOf([[service("svc1", "web", "web:1")]], [[service("svc2", "old", "old:1")]]);
    const after = await swarmOf(
      [[service("svc1", "web", "web:1")]],
      [[service("svc1", "web", "web:2", ["A=1"])], 2],
      [[service("svc3", "new", "new:1")]],
    );
    const changes = diffSwarms(before.state, after.state, false);
    expect(changes.map(({ change, name }) => `${change} ${name}`)).to.deep.equal([
      "changed web",
      "added new",
      "removed old",
    ]);
    expect(changes[0]?.fields).to.deep.equal([
      { path: 'Spec.Labels["com.example.x"]', before: "web:1", after: "web:2" },
      { path: "Spec.TaskTemplate.ContainerSpec.Image", before: "web:1", after: "web:2" },
      { path: "Spec.TaskTemplate.ContainerSpec.Env", before: undefined, after: ["A=1"] },
    ]);
    expect(diffSwarms(after.state, after.state, false)).to.deep.equal([]);
  });

  it("says that a secret changed, and its value only when it is to be revealed", async () => {
    const before = await swarmOf([[secret("s1", "password", "old")]]);
    const after = await swarmOf([[secret("s2", "password", "new")]]);
    const [hidden] = diffSwarms(before.state, after.state, false);
    expect(hidden?.fields).to.deep.equal([
      { path: "ID", before: "s1", after: "s2" },
      { path: "Spec.Data", before: "[hidden]", after: "[hidden]" },
    ]);
    expect(diffSwarms(before.state, after.state, true)[0]?.fields[1]?.after).to.equal("bmV3");
  });
});
