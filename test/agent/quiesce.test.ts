import { expect } from "chai";
import type { SwarmService } from "../../agent/docker-objects.ts";
import { heldSpec, holdLabel, holdReplicasLabel, releasedSpec } from "../../agent/quiesce.ts";

const holdId = "abcdefghijkl";

function service(replicas: number | undefined, labels: Record<string, string> = { app: "x" }): SwarmService {
  return {
    ID: "s",
    Version: { Index: 1 },
    Spec: {
      Name: "db",
      Labels: labels,
      Mode: { Replicated: replicas === undefined ? {} : { Replicas: replicas } },
      TaskTemplate: { ContainerSpec: { Image: "x" } },
    },
  };
}

function held(before: SwarmService): SwarmService {
  const Spec = heldSpec(before, holdId);
  if (Spec === null) throw new Error("was not held");
  return { ...before, Spec };
}

describe("a held service", () => {
  it("has no replicas, and remembers how many it had", () => {
    const { Spec } = held(service(3));
    expect(Spec.Mode).to.deep.equal({ Replicated: { Replicas: 0 } });
    expect(Spec.Labels).to.deep.equal({ app: "x", [holdLabel]: holdId, [holdReplicasLabel]: "3" });
  });

  it("is as it was before, once it is given back", () => {
    for (const replicas of [0, 1, 7]) {
      expect(releasedSpec(held(service(replicas)), holdId)).to.deep.equal(service(replicas).Spec);
    }
    expect(releasedSpec(held(service(undefined)), holdId)?.Mode).to.deep.equal({ Replicated: { Replicas: 1 } });
  });

  it("is not held twice: the former replicas are not forgotten", () => {
    expect(heldSpec(held(service(3)), holdId)).to.equal(null);
  });

  it("keeps what its owner made of it meanwhile", () => {
    const scaled = held(service(3));
    scaled.Spec.Mode = { Replicated: { Replicas: 5 } };
    expect(releasedSpec(scaled, holdId)).to.deep.equal(service(5).Spec);
    const newImage = held(service(3));
    newImage.Spec.TaskTemplate = { ContainerSpec: { Image: "y" } };
    expect(releasedSpec(newImage, holdId)).to.deep.include({ TaskTemplate: { ContainerSpec: { Image: "y" } } });
    expect(releasedSpec(newImage, holdId)?.Mode).to.deep.equal({ Replicated: { Replicas: 3 } });
  });

  it("is left alone where it was deployed anew, or is held by another", () => {
    expect(releasedSpec(service(0), holdId)).to.equal(null);
    expect(releasedSpec(held(service(3)), "mnopqrstuvwx")).to.equal(null);
  });

  it("cannot be a global one", () => {
    const global = { ...service(1), Spec: { ...service(1).Spec, Mode: { Global: {} } } };
    expect(heldSpec(global, holdId)).to.equal(null);
  });
});
