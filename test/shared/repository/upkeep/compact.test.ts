import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compact, type CompactOptions } from "../../../../shared/repository/open/compact.ts";
import { newestUpkeep } from "../../../../shared/repository/chain.ts";
import { forgetRuns } from "../../../../shared/repository/upkeep/forget.ts";
import { prune } from "../../../../shared/repository/upkeep/prune.ts";
import type { Run } from "../../../../shared/repository/run.ts";
import { expectCode } from "../expect-code.ts";
import { makePlace, type Place } from "../snapshots.ts";
import { checkAll } from "./check-all.ts";
import { compactOptions, makeSparse, type Sparse } from "./compact-work.ts";
import { dyingStore } from "./dying-store.ts";
import { appenderOf, backUpRun, catalogueOf, keysUnder, pruneOptions, restored, runsOf } from "./repository-of-runs.ts";

describe("a compaction", () => {
  let place: Place;
  let sparse: Sparse;

  beforeEach(async () => {
    place = await makePlace();
    sparse = await makeSparse(place);
  });
  afterEach(async () => {
    await place.remove();
  });

  const run = async (more: Partial<CompactOptions> = {}): ReturnType<typeof compact> =>
    compact({ ...(await compactOptions(place)), ...more });
  const contents = async (found: Run): Promise<Map<string, Buffer>> => restored(place, found, sparse.node);

  it("lets a prune free what is mostly dead, and every run comes back as it was", async () => {
    const before = await Promise.all((await runsOf(place)).map(contents));
    const result = await run();
    expect(result).to.include({ changed: true, packs: 1, snapshots: 2 });
    expect(result.packBytes).to.be.greaterThan(3 * result.storedBytes);
    expect((await checkAll(place)).findings).to.deep.equal([]);
    const { freedBytes } = await prune(pruneOptions(place));
    expect(freedBytes).to.be.at.least(result.packBytes);
    expect((await checkAll(place)).findings).to.deep.equal([]);
    expect(await keysUnder(place.store, "packs/")).to.not.include(sparse.packKey);
    const runs = await runsOf(place);
    for (const [at, found] of runs.entries()) expect(await contents(found)).to.deep.equal(before[at]);
    // Refs that nothing names any more are gone as well, and a second one has nothing to do.
    for (const { id } of runs) expect(await keysUnder(place.store, `refs/${id}/`)).to.have.length(1);
    expect(await run()).to.include({ changed: false, packs: 0 });
  });

  it("leaves the refs that it replaced for a grace, as the packs: a restore may be reading them", async () => {
    const hour = 3_600_000;
    const old = (await runsOf(place)).flatMap(({ parts }) => parts.flatMap(({ refs }) => refs?.key ?? []));
    // Stored long ago: what counts is when it was replaced.
    for (const key of old) utimesSync(join(place.storePath, key), 1, 1);
    await run();
    await prune(pruneOptions(place, { graceMs: hour }));
    expect(await keysUnder(place.store, "refs/")).to.include.members(old);
    expect(await keysUnder(place.store, "packs/")).to.include(sparse.packKey);
    await prune(pruneOptions(place));
    expect(await keysUnder(place.store, "refs/")).to.not.include.members(old);
  });

  it("goes on from one that was made before, also when a run is forgotten between", async () => {
    await run();
    await prune(pruneOptions(place));
    writeFileSync(join(sparse.node.source, "small"), randomBytes(20_000));
    const newer = await backUpRun(place, sparse.node);
    const [, , oldest] = await runsOf(place);
    await forgetRuns({ ...appenderOf(place), choose: (all) => all.filter(({ id }) => id === oldest?.id) });
    await run({ terms: { graceMs: 0, sparseShare: 1, maxBytes: Infinity } });
    await prune(pruneOptions(place));
    expect((await checkAll(place)).findings).to.deep.equal([]);
    const [newest] = await runsOf(place);
    expect(newest?.id).to.equal(newer.id);
    expect((await contents(newest ?? newer)).get("small")).to.have.length(20_000);
  });

  it("retires anew what a prune had retired before, since when it was needed still", async () => {
    const hour = 3_600_000;
    await prune(pruneOptions(place));
    const retired = async (): Promise<string | undefined> =>
      (await newestUpkeep(catalogueOf(place)))?.retired.find(({ packs }) =>
        packs.some((pack) => sparse.packKey.endsWith(pack)),
      )?.since;
    const before = (await retired()) ?? expect.fail("it is not retired");
    let after = 0;
    await run({
      agree: () => Promise.resolve(true),
      onProgress: (phase) => {
        if (phase === "refs") after = Date.now();
      },
    });
    expect(Date.parse((await retired()) ?? "")).to.be.greaterThan(Date.parse(before));
    expect(Date.parse((await retired()) ?? "")).to.be.at.least(after - 1000);
    expect(await prune(pruneOptions(place, { graceMs: hour }))).to.include({ deletedPacks: 0 });
    expect(await keysUnder(place.store, "packs/")).to.include(sparse.packKey);
  });

  it("changes nothing where it was not agreed to", async () => {
    const before = await keysUnder(place.store, "");
    const result = await run({ agree: ({ packs }) => Promise.resolve(packs.length === 0) });
    expect(result).to.include({ changed: false, packs: 1 });
    expect(await keysUnder(place.store, "")).to.deep.equal(before);
  });

  it("leaves what a run that came meanwhile names, and begins anew where a prune came", async () => {
    let late = null as Run | null;
    let rounds = 0;
    await run({
      onProgress: (phase) => {
        if (phase === "refs") rounds++;
      },
      agree: async () => {
        // The agent's cache knows the old packs: this run names them.
        rmSync(join(sparse.node.source, "small"));
        late = await backUpRun(place, sparse.node);
        return true;
      },
    });
    expect((await checkAll(place)).findings).to.deep.equal([]);
    await prune(pruneOptions(place));
    expect((await checkAll(place)).findings).to.deep.equal([]);
    expect((await contents(late ?? expect.fail("no run"))).has("kept")).to.be.true;
    expect(rounds).to.equal(2);

    const again = await makeSparse(place, "node2");
    rounds = 0;
    await run({
      onProgress: (phase) => {
        if (phase === "refs") rounds++;
      },
      agree: async () => {
        await prune(pruneOptions(place));
        return true;
      },
    });
    expect(rounds).to.be.greaterThan(2);
    await prune(pruneOptions(place));
    expect(await keysUnder(place.store, "packs/")).to.not.include(again.packKey);
    expect((await checkAll(place)).findings).to.deep.equal([]);
  });

  // Every write, and really killed: test/soak/upkeep.test.ts.
  it("leaves at any write, killed before or after it, a repository that checks clean", async () => {
    const before = await Promise.all((await runsOf(place)).map(contents));
    for (let step = 3; ; step += 5) {
      const home = sparse.copy(`copy-${step}`);
      let died = false as boolean;
      const store = dyingStore(home.store, Math.ceil(step / 2), step % 2 === 1, () => {
        died = true;
        throw new Error("killed");
      });
      const options = { ...(await compactOptions(home)), exclusive: true };
      try {
        await compact({ ...options, store, keys: { ...options.keys, store } });
      } catch (error) {
        if (!died) throw error;
      }
      const there: Place = { ...place, store: home.store };
      expect((await checkAll(home)).findings, `step ${step}`).to.deep.equal([]);
      await compact(options);
      await prune({ ...pruneOptions(home), exclusive: true });
      const after = await checkAll(home);
      expect(after.findings).to.deep.equal([]);
      expect(after.unneededPacks).to.equal(0);
      for (const [at, found] of (await runsOf(home)).entries()) {
        expect(await restored(there, found, sparse.node)).to.deep.equal(before[at]);
      }
      home.remove();
      if (died) continue;
      expect(step).to.be.greaterThan(12);
      break;
    }
  });

  it("refuses a damaged pack, and then nothing has changed", async () => {
    const bytes = Buffer.from((await place.store.get(sparse.packKey, 1 << 26)) ?? "");
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 100) ^ 1, bytes.length - 100);
    await place.store.put(sparse.packKey, bytes);
    const entries = await keysUnder(place.store, "runs/");
    await expectCode("SKEP_AGE_INVALID", () => run());
    expect(await keysUnder(place.store, "runs/")).to.deep.equal(entries);
  });
});
