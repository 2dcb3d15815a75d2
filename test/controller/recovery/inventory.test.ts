import { expect } from "chai";
import { decodeInventory } from "../../../controller/recovery/inventory.ts";
import { SkepError } from "../../../shared/errors.ts";

const valid = `version: 1
ssh: { user: operator, key: id_ed25519, sudo: true, sudoPasswordFile: password }
machines:
  m1: { address: 192.0.2.11, role: manager }
  m2: { address: two.example, advertise: 192.0.2.12, role: worker, port: 2222 }
nodes:
  node1: m1
  node2: m2
  node3: gone
`;

function faultsOf(text: string): string {
  try {
    decodeInventory(text, "inventory.yml");
  } catch (error) {
    expect(error).to.be.instanceOf(SkepError).with.property("code", "SKEP_INVENTORY_INVALID");
    return (error as SkepError).message;
  }
  return expect.fail("it was taken");
}

describe("an inventory", () => {
  it("says which machine takes a node's place, and what is gone", () => {
    const { inventory, digest } = decodeInventory(valid, "inventory.yml");
    expect(inventory.nodes).to.deep.equal({ node1: "m1", node2: "m2", node3: "gone" });
    expect(inventory.machines["m2"]).to.deep.include({ role: "worker", port: 2222 });
    expect(digest).to.match(/^[0-9a-f]{64}$/);
  });

  it("is refused with every fault at once", () => {
    const message = faultsOf(`version: 1
machines:
  m1: { address: "a b", role: boss, colour: red }
  m2: { role: worker }
nodes: { node1: m9 }
`);
    for (const part of ["machines.m1.address", "machines.m1.role", "colour", "machines.m2.address"]) {
      expect(message).to.contain(part);
    }
  });

  it("is refused where it contradicts itself", () => {
    const message = faultsOf(
      valid
        .replace("role: manager", "role: worker")
        .replace("advertise: 192.0.2.12, ", "")
        .replace("node2: m2", "node2: m9"),
    );
    expect(message).to.contain("none has role manager").and.contain("advertise").and.contain("there is no machine m9");
  });

  it("takes neither aliases nor broken YAML", () => {
    expect(faultsOf("a: &x [1]\nb: *x\n")).to.contain("inventory.yml");
    expect(faultsOf("version: [")).to.contain("inventory.yml");
  });
});
