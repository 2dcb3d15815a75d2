import { expect } from "chai";
import fc from "fast-check";

import { isSubnet, overlap } from "../../../controller/objects/network-body.ts";
import { mapConstraint, renamed } from "../../../controller/objects/renaming.ts";
import { select } from "../../../controller/objects/selection.ts";
import { copied, service } from "./sample-objects.ts";

describe("names, nodes and subnets of another swarm", () => {
  it("maps constraints on ids and hostnames, however they are written, and no others", () => {
    const nodes = { ids: new Map([["abc", "xyz"]]), hostnames: new Map([["m1", "new1"]]) };
    expect(mapConstraint("node.id==abc", nodes)).to.equal("node.id==xyz");
    expect(mapConstraint("node.id != ABC ", nodes)).to.equal("node.id != xyz");
    expect(mapConstraint("node.hostname == m1", nodes)).to.equal("node.hostname == new1");
    expect(mapConstraint("node.hostname==m2", nodes)).to.equal("node.hostname==m2");
    expect(mapConstraint("node.labels.id==abc", nodes)).to.equal("node.labels.id==abc");
    expect(mapConstraint("node.role==manager", nodes)).to.equal("node.role==manager");
  });

  it("refuses a stack whose object has no name of the stack", () => {
    const odd = copied({ services: [service("odd", {}, "shop")] });
    expect(() => renamed(select(odd, "stack", "shop"), "stack", "shop", "copy"))
      .to.throw()
      .with.property("code", "SKEP_OBJECTS_NO_PREFIX");
  });

  it("finds two subnets that share an address, of either family", () => {
    const byte = fc.nat(255);
    const four = fc.tuple(byte, byte, byte, byte, fc.integer({ min: 1, max: 32 }));
    const inside = (address: readonly number[], [a, b, c, d, prefix]: readonly number[]): boolean => {
      const number = (bytes: readonly (number | undefined)[]): number =>
        bytes.reduce<number>((sum, one) => sum * 256 + (one ?? 0), 0);
      const size = 2 ** (32 - (prefix ?? 0));
      return Math.floor(number(address) / size) === Math.floor(number([a, b, c, d]) / size);
    };
    fc.assert(
      fc.property(four, four, (one, other) => {
        const text = (subnet: readonly number[]): string => `${subnet.slice(0, 4).join(".")}/${subnet[4] ?? 0}`;
        const expected = inside(one.slice(0, 4), other) || inside(other.slice(0, 4), one);
        expect(overlap(text(one), text(other))).to.equal(expected);
      }),
    );
    expect(overlap("fd00::/64", "fd00::1:0:0:0:0/48")).to.equal(true);
    expect(overlap("fd00::/64", "fd00:0:0:1::/64")).to.equal(false);
    expect(overlap("::ffff:10.0.0.0/120", "10.0.0.0/24")).to.equal(false);
    expect(["10.0.0.0/8", "fd00::/8", "10.0.0.0", "10.0.0.0/33", "x/8"].map(isSubnet)).to.deep.equal([
      true,
      true,
      false,
      false,
      false,
    ]);
  });
});
