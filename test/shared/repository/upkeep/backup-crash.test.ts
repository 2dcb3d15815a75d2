import { expect } from "chai";
import { makePlace, type Place } from "../snapshots.ts";
import { makeBackupWork } from "./backup-work.ts";

describe("a backup, killed", () => {
  let place: Place;
  before(async () => {
    place = await makePlace();
  });
  after(() => place.remove());

  // At every step: test/soak/backup.test.ts.
  it("leaves a repository that checks clean, with every run that counted, and the next run succeeds", async () => {
    const { killAt } = await makeBackupWork(place, 500_000);
    for (const step of [4, 9]) expect((await killAt(step)).killed, `step ${step}`).to.be.true;
  }).timeout(240_000);
});
