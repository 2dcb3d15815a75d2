// One cell of the matrix of recoveries (recovery/matrix.ts) with a small estate, another each time: SKEP_SOAK_SEED repeats what
// a seed chose, SKEP_SOAK_CELL names one. All of them, with the large estate: npm run soak.
import { expect } from "chai";
import { randomInt } from "node:crypto";
import { BurnedSwarm } from "./recovery/burned-swarm.ts";
import { tryCell } from "./recovery/cell.ts";
import { smallEstate } from "./recovery/estate.ts";
import { mortalStep, nameOf, sampledCell } from "./recovery/matrix.ts";

const seed = Number(process.env["SKEP_SOAK_SEED"] ?? randomInt(2 ** 31));
const cell = sampledCell(process.env["SKEP_SOAK_CELL"] ?? "", seed);

describe(`a recovery of the matrix, as SKEP_SOAK_SEED=${seed} says`, function () {
  this.timeout(420_000);
  let burned: BurnedSwarm | null = null;
  before(async () => {
    burned = await BurnedSwarm.of(cell.source, smallEstate, new Set([cell.state]), 0);
  });
  after(() => burned?.down());

  it(`brings everything back that burned: ${nameOf(cell)}`, async () => {
    await tryCell(burned ?? expect.fail("no swarm burned"), cell, (step) => mortalStep(step, seed));
  });
});
