import { fuzzSeconds, fuzzSeed } from "./budget.ts";
import { fuzz } from "./decoder.ts";
import { queueDecoders } from "./queue-decoders.ts";

describe(`decoders of what stands in Redis (SKEP_FUZZ_SEED=${fuzzSeed})`, () => {
  it("read what is right, and refuse anything else with a SkepError, soon and within bounds", async () => {
    const { decoders, end } = await queueDecoders();
    try {
      await fuzz(decoders, fuzzSeconds, fuzzSeed);
    } finally {
      await end();
    }
  }).timeout(fuzzSeconds * 1000 + 120_000);
});
