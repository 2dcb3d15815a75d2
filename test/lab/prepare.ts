// Before the end-to-end tests: what labs are made of is built here, where no test's time runs meanwhile.
import { redisImage } from "./image.ts";
import { sweepLabsOnInterrupt } from "./interrupt.ts";
import { Lab } from "./lab.ts";
import { skepImages } from "./skep-image.ts";

export async function mochaGlobalSetup(): Promise<void> {
  sweepLabsOnInterrupt();
  await Lab.prepare([redisImage(), ...(await skepImages())]);
}
