import { expect } from "chai";
import type { SwarmNode, SwarmService } from "../../../agent/docker-objects.ts";
import { heldConstraint } from "../../../shared/held-spec.ts";
import { meantNodes } from "../../../agent/quiesce/placement.ts";
import { refusalOf } from "../../../agent/quiesce/refusal.ts";

function node(name: string, more: Partial<SwarmNode["Spec"]> = {}, state = "ready"): SwarmNode {
  return {
    ID: `id${name}`,
    Version: { Index: 1 },
    Spec: { Labels: { disk: name === "node1" ? "fast" : "slow" }, Role: "worker", Availability: "active", ...more },
    Description: { Hostname: name, Platform: { Architecture: "x86_64", OS: "linux" } },
    Status: { State: state, Addr: "10.0.0.1" },
  };
}
const nodes = [node("node1", { Role: "manager" }), node("node2"), node("node3")];

function service(constraints: string[], more: Partial<SwarmService> = {}, mount: object = {}): SwarmService {
  return {
    ID: "s",
    Version: { Index: 1 },
    Spec: {
      Name: "db",
      Mode: { Replicated: { Replicas: 1 } },
      TaskTemplate: {
        ContainerSpec: { Mounts: [{ Type: "volume", Source: "data", Target: "/data", ...mount }] },
        Placement: { Constraints: constraints, Platforms: [{ Architecture: "amd64", OS: "linux" }] },
      },
    },
    ...more,
  };
}
const reason = (what: SwarmService, on = nodes, shared: string[] = []): string | null =>
  refusalOf(what, on, new Set(shared))?.reason ?? null;

describe("a service that is to be stopped", () => {
  it("is one with a local volume only where it can start on no other node", () => {
    for (const constraint of ["node.hostname==node2", "node.hostname == NODE2", "node.id==idnode2"]) {
      expect(reason(service([constraint])), constraint).to.equal(null);
    }
    expect(reason(service(["node.labels.disk==fast"]))).to.equal(null);
    expect(reason(service(["node.role!=worker"]))).to.equal(null);
    expect(reason(service([]))).to.equal("placement");
    expect(reason(service(["node.labels.disk==slow"]))).to.equal("placement");
    expect(refusalOf(service([]), nodes, new Set())?.hint).to.contain("skep.quiesce=pause");
  });

  it("may start anywhere where its volume is seen by all nodes", () => {
    const options = { type: "nfs", o: "addr=10.1.1.1", device: ":/srv" };
    expect(reason(service([], {}, { VolumeOptions: { DriverConfig: { Options: options } } }))).to.equal(null);
    expect(reason(service([], {}, { VolumeOptions: { DriverConfig: { Name: "ceph" } } }))).to.equal(null);
    expect(reason(service([]), nodes, ["data"])).to.equal(null);
    expect(reason(service([], {}, { Type: "bind", Source: "/srv" }))).to.equal(null);
  });

  it("counts nodes that are down, which come back, and not those that are drained", () => {
    const drained = [node("node1", { Availability: "drain" }), node("node2")];
    expect(reason(service([]), drained)).to.equal(null);
    expect(reason(service([]), [node("node1"), node("node2", {}, "down")])).to.equal("placement");
  });

  it("is left running where no node could start it again", () => {
    expect(reason(service(["node.hostname==node2"]), [node("node2", {}, "down")])).to.equal("placement");
    expect(reason(service(["node.hostname==node2"]), [node("node2", { Availability: "pause" })])).to.equal("placement");
    expect(reason(service(["node.hostname==node9"]))).to.equal("placement");
  });

  it("is no job, and has no update under way", () => {
    const job = service([]);
    job.Spec.Mode = { GlobalJob: {} };
    expect(reason(job)).to.equal("job");
    for (const State of ["updating", "paused", "rollback_started", "rollback_paused"]) {
      expect(reason(service(["node.hostname==node2"], { UpdateStatus: { State } })), State).to.equal("update");
    }
    for (const State of ["completed", "rollback_completed"]) {
      expect(reason(service(["node.hostname==node2"], { UpdateStatus: { State } })), State).to.equal(null);
    }
  });

  it("may be a global one wherever its volumes lie: it has the same nodes afterwards", () => {
    const global = service([]);
    global.Spec.Mode = { Global: {} };
    expect(reason(global)).to.equal(null);
  });

  it("is meant for the nodes that its constraints allow, also while they are drained, or Skep or its owner holds it", () => {
    const meant = (constraints: string[]): string[] | null =>
      meantNodes(service(constraints), [...nodes, node("node4", { Availability: "drain" })])?.map(({ ID }) => ID) ??
      null;
    expect(meant(["node.hostname==node4"])).to.deep.equal(["idnode4"]);
    expect(meant(["node.hostname==node2", heldConstraint])).to.deep.equal(["idnode2"]);
    expect(meant([heldConstraint])).to.equal(null);
    expect(meant(["node.labels.run==never"]), "no node: any may have its volumes").to.equal(null);
  });
});
