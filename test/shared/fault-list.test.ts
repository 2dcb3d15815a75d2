import { expect } from "chai";
import { z } from "zod";
import { faultPlaces, joinFaults, listFaults, shapeFaults } from "../../shared/fault-list.ts";

const schema = z.strictObject({ name: z.string(), list: z.array(z.int()), keys: z.record(z.string(), z.string()) });

function errorOf(value: unknown): z.ZodError {
  const { error } = schema.safeParse(value);
  if (error === undefined) throw new Error("the value fits");
  return error;
}

describe("faults of what somebody else wrote", () => {
  it("name what is wrong, and where", () => {
    const error = errorOf({ name: 1, list: [1, "a"], keys: {} });
    expect(shapeFaults(error)).to.match(/expected string.*\n.*at name\n.*expected number.*\n.*at list\[1\]$/);
    expect(faultPlaces(error)).to.equal("name, list.1");
    expect(faultPlaces(errorOf({ name: "a", list: [], keys: {}, more: 1 }))).to.equal("the top");
  });

  it("are never as long as the value", () => {
    const key = "k".repeat(100_000);
    const values = [
      { name: "a", list: [], keys: { [key]: 1 } },
      { name: "a", list: [], keys: {}, [key]: 1 },
      { name: "a", list: Array.from({ length: 10_000 }, () => "no number"), keys: {} },
      {
        name: "a",
        list: [],
        keys: {},
        ...Object.fromEntries(Array.from({ length: 10_000 }, (_, at) => [`k${at}`, 1])),
      },
    ];
    for (const value of values) {
      const error = errorOf(value);
      expect(shapeFaults(error).length).to.be.lessThan(16_000);
      expect(faultPlaces(error).length).to.be.lessThan(16_000);
    }
    const faults = Array.from({ length: 1000 }, () => key);
    for (const text of [listFaults(faults), joinFaults(faults)]) {
      expect(text.length).to.be.lessThan(16_500);
      expect(text).to.match(/and 950 more$/);
    }
  });
});
