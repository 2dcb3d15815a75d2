// Upkeep on a real S3 server, for long: a compaction that dies at each of its writes, and a hundred writers beside a pruner.
import { expect } from "chai";
import { compact } from "../../shared/repository/open/compact.ts";
import { createRepository } from "../../shared/repository/create.ts";
import { prune } from "../../shared/repository/upkeep/prune.ts";
import { openStore } from "../../shared/store/open.ts";
import type { Store } from "../../shared/store/store.ts";
import { Lab } from "../lab/lab.ts";
import { makePlace, type Place } from "../shared/repository/snapshots.ts";
import { checkAll } from "../shared/repository/upkeep/check-all.ts";
import { compactOptions, makeSparse } from "../shared/repository/upkeep/compact-work.ts";
import { dyingStore } from "../shared/repository/upkeep/dying-store.ts";
import { manyWritersAndOnePruner } from "../shared/repository/upkeep/many-writers.ts";
import {
  keysUnder,
  pruneOptions,
  restored,
  runsOf,
  untilAllIsPast,
} from "../shared/repository/upkeep/repository-of-runs.ts";

describe("upkeep on a real S3 server, for long", () => {
  let lab: Lab;
  let place: Place;
  let store: Store;

  before(async () => {
    lab = await Lab.up({ s3: true });
  });
  beforeEach(async function () {
    const bucket = `soak-${this.currentTest?.title.length ?? 0}`;
    await lab.s3.createBucket(bucket, {});
    store = openStore({ url: `s3://${bucket}/swarm-a`, endpoint: lab.s3.endpoint }, await lab.s3.credentials());
    place = {
      ...(await makePlace()),
      store,
      made: await createRepository({ store, operatorName: "anna", now: Date.now() }),
    };
  });
  afterEach(async () => {
    await place.remove();
    await store.close();
  });
  after(async () => {
    await lab.down();
  });

  it("leaves, when a compaction dies at a write, before and after it, what checks clean; one that ends frees the packs", async () => {
    const sparse = await makeSparse(place);
    const before = await Promise.all((await runsOf(place)).map((run) => restored(place, run, sparse.node)));
    let deaths = 0;
    for (let step = 1, isDone = false; !isDone; step++) {
      await untilAllIsPast(store);
      const options = { ...(await compactOptions(place)), exclusive: true };
      let isDead = false as boolean;
      const dying = dyingStore(store, Math.ceil(step / 2), step % 2 === 1, () => {
        isDead = true;
        throw new Error("killed");
      });
      try {
        await compact({ ...options, store: dying, keys: { ...options.keys, store: dying } });
      } catch (error) {
        if (!isDead) throw error;
      }
      if (isDead) deaths++;
      expect((await checkAll(place)).findings, `step ${step}`).to.deep.equal([]);
      isDone = (await compact({ ...options, agree: () => Promise.resolve(false) })).packs === 0;
    }
    expect(deaths).to.be.greaterThan(6);
    await untilAllIsPast(store);
    await prune(pruneOptions(place));
    expect(await keysUnder(store, "packs/")).to.not.include(sparse.packKey);
    expect((await checkAll(place)).findings).to.deep.equal([]);
    const runs = await runsOf(place);
    for (const [at, run] of runs.entries()) expect(await restored(place, run, sparse.node)).to.deep.equal(before[at]);
  }).timeout(600_000);

  it("keeps whole what a hundred agents write while a pruner goes round", async () => {
    await manyWritersAndOnePruner(place, { writers: 100, runs: 4 });
  }).timeout(1_800_000);
});
