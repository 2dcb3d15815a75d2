import { fuzzDecoders } from "../shared/repository/fuzzed-decoders.ts";

describe("decoders, for a minute", () => {
  it("read what is right, and refuse anything else with a SkepError, soon and within bounds", async () => {
    await fuzzDecoders(60);
  }).timeout(600_000);
});
