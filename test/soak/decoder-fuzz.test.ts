import { fuzz } from "../fuzz/decoder.ts";
import { fuzzSeed } from "../fuzz/budget.ts";
import { fileDecoders } from "../fuzz/file-decoders.ts";
import { processDecoders } from "../fuzz/process-decoders.ts";
import { queueDecoders } from "../fuzz/queue-decoders.ts";
import { storeDecoders } from "../fuzz/store-decoders.ts";

/** For those of one place. */
const seconds = 300;

describe(`decoders, for minutes (SKEP_FUZZ_SEED=${fuzzSeed})`, () => {
  const nothingToEnd = () => Promise.resolve();
  const places = {
    "the store": async () => ({ decoders: await storeDecoders(), end: nothingToEnd }),
    Redis: queueDecoders,
    "other processes": processDecoders,
    files: fileDecoders,
  };
  for (const [place, make] of Object.entries(places)) {
    it(`of ${place} read what is right, and refuse anything else with a SkepError, soon and within bounds`, async () => {
      const { decoders, end } = await make();
      try {
        await fuzz(decoders, seconds, fuzzSeed);
      } finally {
        await end();
      }
    }).timeout(seconds * 2000);
  }
});
