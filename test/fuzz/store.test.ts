import { fuzzSeconds, fuzzSeed } from "./budget.ts";
import { fuzz } from "./decoder.ts";
import { storeDecoders } from "./store-decoders.ts";

describe(`decoders of what lies in the store (SKEP_FUZZ_SEED=${fuzzSeed})`, () => {
  it("read what is right, and refuse anything else with a SkepError, soon and within bounds", async () => {
    await fuzz(await storeDecoders(), fuzzSeconds, fuzzSeed);
  }).timeout(fuzzSeconds * 1000 + 120_000);
});
