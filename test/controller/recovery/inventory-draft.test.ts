import { expect } from "chai";
import { decodeInventory } from "../../../controller/recovery/inventory.ts";
import { draftInventory } from "../../../controller/recovery/inventory-draft.ts";

describe("the draft of an inventory", () => {
  it("is valid once the addresses are filled in", () => {
    const nodes = ["one", "gone", "one"].map((hostname, index) => ({
      ...{ id: `id${index}`, hostname, role: "manager" as const, availability: "active" as const },
      ...{ state: "ready", address: "192.0.2.1" },
    }));
    let octet = 0;
    const text = draftInventory({ id: "r1", startedAt: "2026-11-26T03:00:00.000Z", nodes }).replaceAll(
      "CHANGE-ME",
      () => `192.0.2.${++octet}`,
    );
    const { inventory } = decodeInventory(text, "inventory.yml");
    expect(Object.keys(inventory.machines)).to.deep.equal(["one", "gone-1", "one-2"]);
    expect(inventory.nodes).to.deep.equal({ id0: "one", gone: "gone-1", id2: "one-2" });
  });
});
