// The long loops of upkeep: real SIGKILLs at every write, and a hundred writers beside a pruner.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compact } from "../../shared/repository/open/compact.ts";
import { prune } from "../../shared/repository/upkeep/prune.ts";
import { makePlace, type Place } from "../shared/repository/snapshots.ts";
import { checkAll } from "../shared/repository/upkeep/check-all.ts";
import { manyWritersAndOnePruner } from "../shared/repository/upkeep/many-writers.ts";
import { compactOptions, makeSparse } from "../shared/repository/upkeep/compact-work.ts";
import { pruneOptions, restored, runsOf } from "../shared/repository/upkeep/repository-of-runs.ts";
import { makeUpkeepWork } from "../shared/repository/upkeep/upkeep-work.ts";

const child = fileURLToPath(new URL("./upkeep-killed.ts", import.meta.url));

describe("upkeep, for long", () => {
  let place: Place;

  beforeEach(async () => {
    place = await makePlace();
  });
  afterEach(async () => {
    await place.remove();
  });

  it("leaves at every write, killed before and after it, a repository that checks clean", async () => {
    const work = await makeUpkeepWork(place);
    for (let step = 1; ; step++) {
      const [nth, before] = [Math.ceil(step / 2), step % 2 === 1];
      const home = work.copy(`copy-${step}`);
      const killed = spawn(process.execPath, [child], { stdio: ["pipe", "inherit", "inherit"] });
      const given = { path: home.path, made: place.made, goneRuns: work.goneRuns, nth, before, act: "prune" };
      killed.stdin.end(JSON.stringify(given));
      const [code, signal] = (await once(killed, "exit")) as [number | null, string | null];
      expect((await checkAll(home)).findings, `write ${nth}`).to.deep.equal([]);
      await work.run(home);
      const after = await checkAll(home);
      expect(after.findings).to.deep.equal([]);
      expect(after).to.include({ runs: 2, unneededPacks: 0 });
      expect((await runsOf(home)).map(({ id }) => id)).to.deep.equal(work.keptRuns);
      rmSync(home.path, { recursive: true });
      if (signal === "SIGKILL") continue;
      expect(code).to.equal(0);
      expect(nth).to.be.greaterThan(15);
      break;
    }
  }).timeout(1_800_000);

  it("leaves at every write of a compaction, killed before and after it, a repository that checks clean", async () => {
    const sparse = await makeSparse(place);
    const before = await Promise.all((await runsOf(place)).map((run) => restored(place, run, sparse.node)));
    for (let step = 1; ; step++) {
      const [nth, isBefore] = [Math.ceil(step / 2), step % 2 === 1];
      const home = sparse.copy(`copy-${step}`);
      const killed = spawn(process.execPath, [child], { stdio: ["pipe", "inherit", "inherit"] });
      const given = { path: home.path, made: place.made, goneRuns: [], nth, before: isBefore, act: "compact" };
      killed.stdin.end(JSON.stringify(given));
      const [code, signal] = (await once(killed, "exit")) as [number | null, string | null];
      expect((await checkAll(home)).findings, `write ${nth}`).to.deep.equal([]);
      await compact({ ...(await compactOptions(home)), exclusive: true });
      await prune({ ...pruneOptions(home), exclusive: true });
      const after = await checkAll(home);
      expect(after.findings).to.deep.equal([]);
      expect(after.unneededPacks).to.equal(0);
      for (const [at, run] of (await runsOf(home)).entries()) {
        expect(await restored({ ...place, store: home.store }, run, sparse.node)).to.deep.equal(before[at]);
      }
      home.remove();
      if (signal === "SIGKILL") continue;
      expect(code).to.equal(0);
      expect(nth).to.be.greaterThan(6);
      break;
    }
  }).timeout(1_800_000);

  it("keeps whole what a hundred agents write while a pruner goes round", async () => {
    await manyWritersAndOnePruner(place, { writers: 100, runs: 4 });
  }).timeout(1_800_000);
});
