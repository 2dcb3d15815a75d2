import { expect } from "chai";
import { rmSync } from "node:fs";
import { makePlace, type Place } from "../snapshots.ts";
import { checkAll } from "./check-all.ts";
import { dyingStore } from "./dying-store.ts";
import { makeUpkeepWork, type UpkeepWork } from "./upkeep-work.ts";
import { runsOf } from "./repository-of-runs.ts";

class Killed extends Error {}

describe("forget and prune, killed", () => {
  let place: Place;
  let work: UpkeepWork;

  before(async () => {
    place = await makePlace();
    work = await makeUpkeepWork(place);
  });
  after(async () => {
    await place.remove();
  });

  // With real SIGKILLs, before and after each: test/soak/upkeep.test.ts.
  it("leave at each write a repository that checks clean, and are done by the next", async () => {
    for (let nth = 1; ; nth++) {
      const home = work.copy(`copy-${nth}`);
      const dying = dyingStore(home.store, nth, nth % 2 === 0, () => {
        throw new Killed();
      });
      let killed = false;
      try {
        await work.run({ made: place.made, store: dying });
      } catch (error) {
        if (!(error instanceof Killed)) throw error;
        killed = true;
      }
      expect((await checkAll(home)).findings, `after write ${nth}`).to.deep.equal([]);
      await work.run(home);
      const after = await checkAll(home);
      expect(after.findings).to.deep.equal([]);
      expect(after).to.include({ runs: 2, unneededPacks: 0 });
      expect((await runsOf(home)).map(({ id }) => id)).to.deep.equal(work.keptRuns);
      rmSync(home.path, { recursive: true });
      if (killed) continue;
      expect(nth).to.be.greaterThan(15);
      break;
    }
  });
});
