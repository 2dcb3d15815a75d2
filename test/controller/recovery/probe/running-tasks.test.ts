import { expect } from "chai";
import { settledServices, sightOf } from "../../../../controller/recovery/probe/running-tasks.ts";
import { sight, task } from "./seen-tasks.ts";

const attachment = (name: string, address: string, more: object = {}) => ({
  Network: { Spec: { Name: name, ...more }, DriverState: { Name: "overlay", Options: { encrypted: "" } } },
  Addresses: [`${address}/24`],
});
const taskOf = (id: string, service: string, node: string, state = "running") => ({
  ...{ ID: id, ServiceID: service, NodeID: node },
  Status: {
    State: state,
    ContainerStatus: { PID: 7 },
    PortStatus: {
      Ports: [
        { Protocol: "tcp", TargetPort: 80, PublishedPort: 8080, PublishMode: "host" },
        { Protocol: "tcp", TargetPort: 80, PublishedPort: 8080, PublishMode: "host" },
      ],
    },
  },
  NetworksAttachments: [attachment("ingress", "10.255.0.3", { Ingress: true }), attachment("inside", "10.0.1.5")],
});
const serviceOf = (id: string, ports: Record<string, unknown>[] = [], capabilities: string[] = []) => ({
  ID: id,
  Spec: { Name: `the-${id}`, TaskTemplate: { ContainerSpec: { CapabilityAdd: capabilities } } },
  Endpoint: { Ports: ports },
});

describe("what runs in a swarm that is back", () => {
  const ready = new Set(["n1", "n2"]);
  const machines = new Map([["n1", "m1"]]);

  it("is each task that runs on a node that is ready, with its machine, its overlay addresses and its own ports", () => {
    const { tasks, unsettled } = sightOf({
      services: [serviceOf("s1", [], ["CAP_NET_ADMIN"]), serviceOf("s2"), serviceOf("s3")],
      tasks: [
        taskOf("t1", "s1", "n1"),
        taskOf("t2", "s2", "n2"),
        taskOf("t3", "s2", "n1", "starting"),
        taskOf("t4", "s3", "down"),
      ],
      ...{ ready, machines },
    });
    expect(tasks.map(({ id, machine, guarded }) => [id, machine, guarded])).to.deep.equal([
      ["t1", "m1", true],
      ["t2", null, false],
    ]);
    expect(tasks[0]).to.deep.include({
      pid: 7,
      addresses: [{ network: "inside", driver: "overlay", encrypted: true, address: "10.0.1.5" }],
      hostPorts: [{ protocol: "tcp", published: 8080, target: 80 }],
    });
    expect([...unsettled]).to.deep.equal(["the-s2", "the-s3"]);
  });

  it("is published by ingress, or on the nodes of tasks", () => {
    const { ingress, hostMode } = sightOf({
      services: [
        serviceOf("s1", [{ Protocol: "tcp", TargetPort: 80, PublishedPort: 8080, PublishMode: "ingress" }]),
        serviceOf("s2", [{ Protocol: "udp", TargetPort: 53, PublishMode: "host" }]),
      ],
      ...{ tasks: [], ready, machines },
    });
    expect(ingress).to.deep.equal([{ service: "the-s1", protocol: "tcp", published: 8080, target: 80 }]);
    expect(hostMode).to.deep.equal(["the-s2"]);
  });

  it("is settled where the same tasks ran before and after, and all that shall", () => {
    const [a, b, c] = [task("same", "m1"), task("moved", "m1"), task("young", "m1")];
    const before = sight([a, b, c]);
    const after = sight([a, { ...b, id: "another" }, c], { unsettled: new Set(["young"]) });
    expect([...settledServices(before, after)]).to.deep.equal(["same"]);
    expect([...settledServices(before, before)]).to.deep.equal(["same", "moved", "young"]);
  });
});
