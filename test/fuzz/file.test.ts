import { fuzzSeconds, fuzzSeed } from "./budget.ts";
import { fuzz } from "./decoder.ts";
import { fileDecoders } from "./file-decoders.ts";

describe(`decoders of what lies in files (SKEP_FUZZ_SEED=${fuzzSeed})`, () => {
  it("read what is right, and refuse anything else with a SkepError, soon and within bounds", async () => {
    const { decoders, end } = await fileDecoders();
    try {
      await fuzz(decoders, fuzzSeconds, fuzzSeed);
    } finally {
      await end();
    }
  }).timeout(fuzzSeconds * 1000 + 120_000);
});
