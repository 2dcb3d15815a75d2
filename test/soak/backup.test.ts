// A whole backup, real SIGKILLs at every step that it takes on the disk.
import { expect } from "chai";
import { makePlace, type Place } from "../shared/repository/snapshots.ts";
import { makeBackupWork } from "../shared/repository/upkeep/backup-work.ts";

describe("a backup, killed at each step", () => {
  let place: Place;
  before(async () => {
    place = await makePlace();
  });
  after(() => place.remove());

  it("leaves a repository that checks clean, with every run that counted, and the next run succeeds", async () => {
    const { killAt } = await makeBackupWork(place, 17 * 1024 * 1024); // more than a pack
    let counted = 0;
    for (let step = 1; ; step++) {
      const end = await killAt(step);
      if (end.killed && end.counted) counted++;
      if (end.killed) continue;
      expect(end.counted).to.be.true;
      expect(step).to.be.greaterThan(12);
      break;
    }
    process.stdout.write(`      ${counted} of the killed ones counted all the same\n`);
  }).timeout(1_800_000);
});
