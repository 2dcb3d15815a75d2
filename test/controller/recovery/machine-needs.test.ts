import { expect } from "chai";
import type { MachineFacts } from "../../../controller/recovery/machine-facts.ts";
import { parseBound } from "../../../controller/recovery/machine-facts.ts";
import { examineNeeds } from "../../../controller/recovery/machine-needs.ts";
import { mergedNode } from "../../../controller/recovery/merged-node.ts";
import type { PlannedVolume } from "../../../controller/recovery/planned-volumes.ts";
import type { PlannedMachine } from "../../../controller/recovery/recovery-plan.ts";
import type { OldService } from "../../../controller/recovery/swarm-view.ts";

function machine(name: string, zone: string, facts: Partial<MachineFacts> = {}): PlannedMachine {
  const old = { id: `id${name}`, hostname: name, role: "manager", availability: "active", labels: { zone } };
  return {
    ...{ name, address: "192.0.2.1", advertise: "192.0.2.1", dataPath: null, dockerSocket: "/s", role: "manager" },
    replaces: [{ ...old, engineVersion: "26.1.5", architecture: "x86_64" }],
    dress: { labels: { zone }, availability: "active", clashes: [] },
    stays: false,
    facts: {
      ...{ name, hostname: name, engineVersion: "26.1.5", architecture: "x86_64", swarmState: "inactive" },
      ...{
        clusterId: "",
        nodeId: "",
        isManager: false,
        dataRoot: "/d",
        freeBytes: 1e12,
        kit: { freeBytes: 1e12, isDataRoots: true },
        volumes: [],
        images: [],
        clockOffsetMs: 0,
      },
      ...{ listening: [22], listeningUdp: [], memoryBytes: 8e9, cpus: 2, routes: [] },
      drivers: ["volume local", "log json-file"],
      ...facts,
    },
  };
}

function service(name: string, spec: object, more: Partial<OldService> = {}): OldService {
  return {
    ...{ id: `id${name}`, name, own: false, mode: "replicated", replicas: 1, image: "", volumes: [] },
    ...{ hasVolumes: false, hasPorts: false, constraints: [], ended: false },
    spec: { Name: name, TaskTemplate: {}, Mode: { Replicated: {} }, ...spec },
    ...more,
  };
}

function said(machines: PlannedMachine[], services: OldService[], volumes: PlannedVolume[] = []): string[] {
  const lines: string[] = [];
  const plan = { machines, services, volumes, renamed: new Map<string, string>(), runJobs: false };
  examineNeeds(plan, (severity, code, text) => lines.push(`${severity} ${code}: ${text}`));
  return lines;
}

const published = (port: number, mode: string, protocol = "tcp"): object => ({
  EndpointSpec: { Ports: [{ PublishedPort: port, PublishMode: mode, Protocol: protocol }] },
});

describe("what services need of the machines of a recovery", () => {
  it("is there: nothing is said", () => {
    const spec = {
      ...published(8080, "ingress"),
      TaskTemplate: {
        LogDriver: { Name: "json-file" },
        Resources: { Reservations: { MemoryBytes: 1e9, NanoCPUs: 1e9 } },
        Placement: { MaxReplicas: 1 },
      },
    };
    expect(said([machine("a", "x"), machine("b", "y")], [service("web", spec, { replicas: 2 })])).to.deep.equal([]);
  });

  it("is a published port that somebody listens on, where it may run", () => {
    const machines = [machine("a", "x"), machine("b", "y", { listening: [8080], listeningUdp: [53] })];
    const web = service("web", published(8080, "ingress"));
    expect(said(machines, [web]).join()).to.match(/^warning published-port: web .* 8080\/tcp.* b$/);
    expect(said(machines, [service("dns", published(53, "host", "udp"))])).to.have.length(1);
    expect(said(machines, [service("dns", published(53, "host"))])).to.deep.equal([]);
    const elsewhere = { constraints: ["node.labels.zone == x"] };
    expect(said(machines, [service("web", published(8080, "host"), elsewhere)])).to.deep.equal([]);
    // A machine that is in its swarm already has the service itself there.
    machines.forEach(({ facts }) => (facts.swarmState = "active"));
    expect(said(machines, [web])).to.deep.equal([]);
  });

  it("is a port of the host that two services want of one machine", () => {
    const two = [service("web", published(80, "host")), service("proxy", published(80, "host"))];
    expect(said([machine("a", "x")], two).join()).to.match(/^warning port-twice: web and proxy/);
    expect(said([machine("a", "x"), machine("b", "y")], two)).to.deep.equal([]);
  });

  it("is a driver of volumes or logs", () => {
    const mounts = [{ VolumeOptions: { DriverConfig: { Name: "rex" } } }, { VolumeOptions: null }];
    const spec = { TaskTemplate: { ContainerSpec: { Mounts: mounts }, LogDriver: { Name: "gelf" } } };
    const lines = said(
      [machine("a", "x"), machine("b", "y", { drivers: ["volume rex", "log gelf"] })],
      [service("db", spec)],
    );
    expect(lines).to.deep.equal([
      "warning driver: db needs the volume driver rex, which a lacks",
      "warning driver: db needs the log driver gelf, which a lacks",
    ]);
    const volume = { machine: "a", source: { id: "a/data", part: { volume: { name: "data", driver: "rex" } } } };
    expect(said([machine("a", "x")], [], [volume as PlannedVolume]).join()).to.match(/^error volume-driver: .*a\/data/);
  });

  it("is room for what a task reserves, and machines enough for its tasks", () => {
    const memory = { TaskTemplate: { Resources: { Reservations: { MemoryBytes: 9e9 } } } };
    expect(said([machine("a", "x")], [service("big", memory)]).join()).to.match(/^warning reservation: big/);
    expect(said([machine("a", "x"), machine("b", "y", { memoryBytes: 1e10 })], [service("big", memory)])).to.be.empty;
    const cpus = { TaskTemplate: { Resources: { Reservations: { NanoCPUs: "3000000000" } } } };
    expect(said([machine("a", "x")], [service("big", cpus)])).to.have.length(1);
    const most = { TaskTemplate: { Placement: { MaxReplicas: 1 } } };
    expect(said([machine("a", "x")], [service("web", most, { replicas: 2 })]).join()).to.match(
      /^warning replicas: web/,
    );
  });

  it("is the architecture that its images were for", () => {
    expect(said([machine("a", "x", { architecture: "aarch64" })], []).join()).to.match(/^warning architecture-changed/);
  });
});

describe("a machine that takes the place of several nodes", () => {
  const dress = (labels: Record<string, string>, availability = "active") => ({ labels, availability });

  it("has the labels of all, and what they differ in as constraints ask", () => {
    const nodes = [dress({ disk: "ssd", zone: "a" }), dress({ zone: "B", rack: "1" })];
    expect(mergedNode(nodes, [])).to.deep.equal({
      labels: { disk: "ssd", zone: "a", rack: "1" },
      availability: "active",
      clashes: [{ label: "zone", values: ["a", "B"], taken: "a" }],
    });
    expect(mergedNode(nodes, ["node.labels.zone == b", "node.labels.rack!=2"]).labels["zone"]).to.equal("B");
    expect(mergedNode(nodes, ["node.labels.zone != a"]).labels["zone"]).to.equal("a");
    expect(mergedNode(nodes, ["node.labels.zone == a", "node.labels.zone == b"]).labels["zone"]).to.equal("a");
    expect(mergedNode([], [])).to.deep.equal({ labels: {}, availability: "active", clashes: [] });
  });

  it("is as available as the most available of them", () => {
    expect(mergedNode([dress({}, "drain"), dress({}, "pause")], []).availability).to.equal("pause");
    expect(mergedNode([dress({}, "drain"), dress({})], []).availability).to.equal("active");
    expect(mergedNode([dress({}, "drain")], []).availability).to.equal("drain");
  });
});

describe("UDP ports as the kernel shows them", () => {
  it("are those that are bound, not those of a connection", () => {
    const text = `  sl  local_address rem_address   st
 1: 00000000:1F0A 00000000:0000 07 00000000
 2: 0100007F:12B5 00000000:0000 07 00000000
 3: 0100007F:9999 0100007F:0035 01 00000000
`;
    expect(parseBound(text)).to.deep.equal([4789, 7946]);
  });
});
