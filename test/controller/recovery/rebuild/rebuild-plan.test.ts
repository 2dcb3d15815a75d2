import { expect } from "chai";

import { heldForm } from "../../../../shared/held-spec.ts";
import {
  planRebuild,
  type CopiedSwarm,
  type PresentSwarm,
} from "../../../../controller/recovery/rebuild/rebuild-plan.ts";
import { initBody, settingsChange, type SwarmSettings } from "../../../../controller/recovery/rebuild/settings.ts";
import { copied, network, presentOf, service } from "../../objects/sample-objects.ts";

const placed = (constraint: string) => ({
  TaskTemplate: { ContainerSpec: { Image: "a" }, Placement: { Constraints: [constraint] } },
});
const settings: SwarmSettings = {
  spec: {
    Name: "default",
    Labels: { a: "b" },
    Raft: { ElectionTick: 10 },
    CAConfig: { ForceRotate: 3, NodeCertExpiry: 5 },
  },
  addressPool: ["10.0.0.0/8"],
  subnetSize: 24,
  dataPathPort: 4789,
};
const swarm: CopiedSwarm = {
  settings,
  nodes: [
    { id: "old1", hostname: "m1", labels: { disk: "ssd" }, availability: "active" },
    { id: "old2", hostname: "m2", labels: {}, availability: "drain" },
  ],
  objects: copied({
    networks: [network("back", "10.0.9.0/24")],
    services: [
      service("pinned", placed("node.id==old1")),
      service("lost", placed("node.hostname == m2")),
      service("job", { Mode: { ReplicatedJob: {} } }),
      service("skep_agent", { TaskTemplate: { ContainerSpec: { Env: ["SKEP_CONFIG_FILE=/etc/skep/skep.yaml"] } } }),
    ],
  }),
};
const presentSwarm = (objects: PresentSwarm["objects"]): PresentSwarm => ({
  swarm: {
    ID: "s",
    Version: { Index: 1 },
    Spec: { Name: "default", Raft: { ElectionTick: 9 }, CAConfig: { ForceRotate: 1 } },
  },
  nodes: [
    {
      ID: "new1",
      Version: { Index: 1 },
      Spec: { Labels: { own: "x" }, Availability: "active", Role: "manager" },
      Description: { Hostname: "n1" },
      Status: { State: "ready" },
    },
  ],
  objects,
});
const options = { nodes: new Map([["old1", "new1"]]), subnets: new Map<string, string>(), runJobs: false };

describe("the plan of a rebuild", () => {
  const empty = presentSwarm(presentOf(copied({})));

  it("maps nodes in labels and constraints, and names what no node can meet any more", () => {
    const plan = planRebuild(swarm, empty, options);
    expect(plan.conflicts).to.deep.equal([]);
    expect(plan.nodes).to.deep.equal([
      { id: "new1", hostname: "n1", labels: { own: "x", disk: "ssd" }, availability: "active" },
    ]);
    expect(JSON.stringify(plan.objects.steps)).to.contain('"node.id==new1"');
    expect(plan.notes).to.deep.equal([
      "service lost is bound to a node that is gone (node.hostname == m2): no task of it will start",
    ]);
    expect(plan.mappings).to.deep.equal([
      "node m1 (old1) is n1 (new1) now, in placement constraints too",
      "node m2 (old2) is gone",
      "job job stays held, so that it does not run again; --run-jobs releases it",
    ]);
  });

  it("releases Skep last, and jobs only where that is asked for", () => {
    expect(planRebuild(swarm, empty, options).waves).to.deep.equal([["lost", "pinned"], ["skep_agent"]]);
    const waves = planRebuild(swarm, empty, { ...options, runJobs: true }).waves;
    expect(waves).to.deep.equal([["job", "lost", "pinned"], ["skep_agent"]]);
  });

  it("refuses a swarm that is in use, not one in which a rebuild was cut off", () => {
    const stranger = presentSwarm(presentOf(copied({ services: [service("stranger")] })));
    expect(planRebuild(swarm, stranger, options).conflicts.map(({ name }) => name)).to.deep.equal(["stranger"]);
    const half = presentOf(copied({ services: swarm.objects.services.slice(2, 3) }));
    for (const there of half.services) there.spec = heldForm(there.spec);
    expect(planRebuild(swarm, presentSwarm(half), options).conflicts).to.deep.equal([]);
  });

  it("puts the copy's ingress network in the place of another", () => {
    const ingress = (subnet: string) => {
      const one = network("ingress", subnet);
      return { ...one, body: { ...one.body, Ingress: true } };
    };
    const wanted = { ...swarm, objects: copied({ networks: [ingress("10.255.0.0/16")] }) };
    const other = presentSwarm(presentOf(copied({ networks: [ingress("10.0.0.0/24")] })));
    const plan = planRebuild(wanted, other, options);
    expect([plan.ingress, plan.objects.steps[0]?.action]).to.deep.equal([{ remove: "new-ingress" }, "create"]);
    const same = planRebuild(wanted, presentSwarm(presentOf(wanted.objects)), options);
    expect([same.ingress, same.objects.steps[0]?.action]).to.deep.equal([null, "keep"]);
  });

  it("changes the swarm's settings, but not its count of CA rotations, and says what only a new swarm can have", () => {
    const { spec, notes } = settingsChange({ ...settings, dataPathPort: 7777 }, empty.swarm);
    expect(spec).to.deep.equal({
      Name: "default",
      Labels: { a: "b" },
      Raft: { ElectionTick: 9, HeartbeatTick: undefined },
      CAConfig: { ForceRotate: 1, NodeCertExpiry: 5 },
    });
    expect(notes).to.deep.equal([
      "the swarm's data path port is 4789, and was 7777: only a swarm made anew can have that",
    ]);
    expect(
      initBody({ ...settings, dataPathPort: 7777 }, { advertise: "10.1.1.1", dataPath: "10.2.2.2" }, null),
    ).to.include({
      AdvertiseAddr: "10.1.1.1",
      DataPathAddr: "10.2.2.2",
      DataPathPort: 7777,
      SubnetSize: 24,
    });
  });
});
