// The matrix of recoveries: a swarm of ten services burned, comes back on fresh machines, and an onlooker of its own compares.
// SKEP_SOAK_CELL=three/locked/raft picks cells by the beginning of their names, or by names with commas between them
// (test/e2e/recovery/matrix.ts), SKEP_SOAK_CELLS how many, SKEP_SOAK_SEED repeats an order, SKEP_SOAK_BYTES says how much is in the volumes (1 GB).
import { expect } from "chai";
import { randomInt } from "node:crypto";
import { BurnedSwarm } from "../e2e/recovery/burned-swarm.ts";
import { tryCell } from "../e2e/recovery/cell.ts";
import { chosenCells, nameOf, type Cell, type SourceName } from "../e2e/recovery/matrix.ts";
import { largeEstate } from "./recovery/estate.ts";

const seed = Number(process.env["SKEP_SOAK_SEED"] ?? randomInt(2 ** 31));
const bytes = Number(process.env["SKEP_SOAK_BYTES"] ?? 1e9);
const chosen = chosenCells(process.env["SKEP_SOAK_CELL"] ?? "", seed, Number(process.env["SKEP_SOAK_CELLS"] ?? 100));

describe(`recoveries of seed ${seed}`, function () {
  this.timeout(1_200_000);
  for (const source of new Set(chosen.map((cell) => cell.source))) {
    describeSource(
      source,
      chosen.filter((cell) => cell.source === source),
    );
  }
});

function describeSource(source: SourceName, cells: readonly Cell[]): void {
  describe(source, () => {
    let burned: BurnedSwarm | null = null;
    before(async () => {
      burned = await BurnedSwarm.of(source, largeEstate, new Set(cells.map(({ state }) => state)), bytes);
    });
    after(() => burned?.down());
    for (const cell of cells) {
      it(nameOf(cell), async () => {
        if (burned === null) return expect.fail("no swarm burned");
        await tryCell(burned, cell);
      });
    }
  });
}
