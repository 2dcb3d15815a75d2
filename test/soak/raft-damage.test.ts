// Damage of every file that a restore needs, where damage-places.ts says: each place changed by one bit, or cut off
// there. SKEP_SOAK_SEED repeats a run; each run tries other bits, and other places within long records.
import { expect } from "chai";
import { randomInt } from "node:crypto";
import { damagePlaces } from "../shared/raft/damage-places.ts";
import { findDamage, harmlessRegion, neededPaths, raftVectors, readVector } from "../shared/raft/raft-vectors.ts";

const seed = Number(process.env["SKEP_SOAK_SEED"] ?? randomInt(2 ** 31));

describe("swarm directories that real engines wrote", function () {
  this.timeout(1_200_000);

  before(() => {
    process.stdout.write(`      SKEP_SOAK_SEED=${seed}\n`);
  });

  for (const vector of raftVectors()) {
    it(`show damage of each part, or it changes nothing: ${vector.name}`, async () => {
      const sound = await readVector(vector);
      const told = { changes: 0, cuts: 0, found: new Map<string, number>() };
      const count = (what: string): void => {
        told.found.set(what, (told.found.get(what) ?? 0) + 1);
      };
      for (const path of neededPaths(vector)) {
        const bytes = vector.files.get(path) ?? new Uint8Array();
        const { changes, cuts } = damagePlaces(path, bytes, seed);
        for (const at of changes) {
          const changed = Uint8Array.from(bytes);
          // Each bit in turn, from one byte to the next, and another with another seed.
          changed[at] = (changed[at] ?? 0) ^ (1 << ((seed + at) % 8));
          const found = await findDamage(vector, sound, path, changed);
          const harmless = found === null ? harmlessRegion(path, bytes, at) : null;
          if (found === null) expect(harmless, `${path} at ${at}`).not.to.equal(null);
          count(found ?? harmless ?? "");
          told.changes++;
        }
        for (const length of cuts) {
          const found = await findDamage(vector, sound, path, bytes.subarray(0, length));
          if (found === null)
            expect(path.startsWith("certificates/") && length === bytes.length - 1, `${path} cut at ${length}`).to.be
              .true;
          told.cuts++;
        }
      }
      const found = Object.fromEntries([...told.found].sort(([, a], [, b]) => b - a));
      process.stdout.write(`      ${JSON.stringify({ ...told, found })}\n`);
    });
  }
});
