// Every byte of every file that a restore needs, changed in one bit and by a random mask, and every length it can be cut to.
import { expect } from "chai";
import { findDamage, harmlessRegion, neededPaths, raftVectors, readVector } from "../shared/raft/raft-vectors.ts";

describe("each byte of swarm directories that real engines wrote", function () {
  this.timeout(3_600_000);

  for (const vector of raftVectors()) {
    it(`is found changed or missing, or it changes nothing: ${vector.name}`, async () => {
      const sound = await readVector(vector);
      const told = new Map<string, number>();
      const count = (what: string): void => {
        told.set(what, (told.get(what) ?? 0) + 1);
      };
      for (const path of neededPaths(vector)) {
        const bytes = vector.files.get(path) ?? new Uint8Array();
        for (let at = 0; at < bytes.length; at++) {
          const changed = Uint8Array.from(bytes);
          // Each bit in turn, from one byte to the next.
          changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
          const found = await findDamage(vector, sound, path, changed);
          const harmless = found === null ? harmlessRegion(path, bytes, at) : null;
          if (found === null) expect(harmless, `${path} at ${at}`).not.to.equal(null);
          count(found ?? harmless ?? "");
          const cut = await findDamage(vector, sound, path, bytes.subarray(0, at));
          if (cut === null)
            expect(path.startsWith("certificates/") && at === bytes.length - 1, `${path} cut at ${at}`).to.be.true;
        }
      }
      process.stdout.write(`      ${JSON.stringify(Object.fromEntries(told))}\n`);
    });
  }
});
