import { expect } from "chai";
import { mappedSpec, sameSpec } from "../../../controller/recovery/release-steps.ts";

describe("the spec that a service is released with", () => {
  it("has the name of an image that was loaded, its node's new id, and nothing else that is new", () => {
    const spec = {
      Name: "web",
      TaskTemplate: {
        ContainerSpec: { Image: "web:1@sha256:aa", Env: ["A=b"] },
        Placement: { Constraints: ["node.id==x"] },
      },
    };
    const images = new Map([["web:1@sha256:aa", "web:1-skep-aa"]]);
    const mapped = mappedSpec(spec, { ids: new Map([["x", "y"]]), hostnames: new Map(), images });
    expect(mapped).to.deep.equal({
      Name: "web",
      TaskTemplate: {
        ContainerSpec: { Image: "web:1-skep-aa", Env: ["A=b"] },
        Placement: { Constraints: ["node.id==y"] },
      },
    });
    expect(spec.TaskTemplate.ContainerSpec.Image).to.equal("web:1@sha256:aa");
  });

  it("takes an empty list or object for none when specs are compared, and nothing else", () => {
    expect(sameSpec({ a: 1, b: [], c: {} }, { a: 1, d: null })).to.be.true;
    expect(sameSpec({ a: [1, 2] }, { a: [2, 1] })).to.be.false;
    expect(sameSpec({ a: 0 }, {})).to.be.false;
  });
});
