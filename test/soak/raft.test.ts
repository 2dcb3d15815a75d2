// Hot copies of large and busy swarms, on every engine that Debian's suites have, and copies really started by an engine
// at another address, every object compared with what the API of the living swarm said. Some minutes for each shape;
// npm run soak. SKEP_SOAK_SHAPE picks shapes (raft/shapes.ts), SKEP_SOAK_COPIES says how many copies of each.
import { expect } from "chai";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { HotCopies, startEvery } from "./raft/hot-copies.ts";
import { makeLargeSwarm, manySecrets, manyServices, prepare } from "./raft/large-swarm.ts";
import { chosenShapes, nameOf } from "./raft/shapes.ts";

const copies = Number(process.env["SKEP_SOAK_COPIES"] ?? 100);

let staging = "";
/** What the present test does: mocha lets one that timed out go on, and the next would meet its load. */
let present: { stop: AbortController; done: Promise<unknown> } | null = null;

for (const { engine, managers: count, shapes } of chosenShapes(process.env["SKEP_SOAK_SHAPE"] ?? "")) {
  const many = `${manyServices} services and ${manySecrets} secrets`;
  describe(`${count === 1 ? "a manager" : "three managers"} with ${many} (${engine})`, function () {
    this.timeout(3_600_000);
    let lab: Lab;
    let managers: LabNode[];
    let fresh: LabNode;
    before(async () => {
      const begun = performance.now();
      lab = await Lab.up({ nodes: count + 1, engine });
      [fresh, managers] = [lab.node(count), lab.nodes.slice(0, count)];
      await makeLargeSwarm(managers);
      process.stdout.write(`      made and filled in ${Math.round((performance.now() - begun) / 1000)} s\n`);
    });
    after(() => lab.down());
    beforeEach(async () => {
      staging = await mkdtemp(join(tmpdir(), "skep-raft-soak-"));
    });
    afterEach(async () => {
      present?.stop.abort(new Error("the test is over"));
      // What it threw, mocha has; after a timeout it is the line above.
      await present?.done.catch(() => undefined);
      await rm(staging, { recursive: true });
    });

    for (const shape of shapes) {
      it(`is copied ${copies} times under a steady load, and every tenth copy starts elsewhere: ${nameOf(shape)}`, async () => {
        const stop = new AbortController();
        const shaped = async (): Promise<void> => {
          await prepare(shape, managers);
          const told = await new HotCopies({ shape, copies, managers, fresh, staging, signal: stop.signal }).take();
          expect(told.started).to.equal(Math.floor(copies / startEvery));
          if (shape.disk === "log") expect(told.withSnapshotFile).to.equal(0);
          else expect(told.withSnapshotFile).to.be.greaterThan(0);
          if (shape.lock === "open") expect(told.locked).to.equal(0);
          if (shape.lock === "rotated") expect(told.locked).to.equal(copies);
        };
        present = { stop, done: shaped() };
        await present.done;
      });
    }
  });
}
