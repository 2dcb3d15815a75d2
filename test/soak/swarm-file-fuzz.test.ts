import { fuzzSwarmFiles } from "../controller/cli/swarm-file-fuzz.ts";

describe("files of skep swarm backup, for two minutes", () => {
  it("are read, or refused with a SkepError, however they were changed", async () => {
    const told = await fuzzSwarmFiles({ seconds: 120 });
    process.stdout.write(`      ${JSON.stringify(Object.fromEntries(told))}\n`);
  }).timeout(900_000);
});
