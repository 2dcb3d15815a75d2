import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { utimes } from "node:fs/promises";
import { join } from "node:path";
import { newestUpkeep } from "../../../../shared/repository/chain.ts";
import { layout, newRunId } from "../../../../shared/repository/layout.ts";
import { appendRun } from "../../../../shared/repository/run-chain.ts";
import { forgetRuns } from "../../../../shared/repository/upkeep/forget.ts";
import { prune } from "../../../../shared/repository/upkeep/prune.ts";
import { packsOf } from "../../../../shared/repository/upkeep-entry.ts";
import type { Run } from "../../../../shared/repository/run.ts";
import { expectCode } from "../expect-code.ts";
import { makePlace, type Place } from "../snapshots.ts";
import { checkAll } from "./check-all.ts";
import {
  appenderOf,
  backUpRun,
  catalogueOf,
  commit,
  keysUnder,
  makeNode,
  pruneOptions,
  restored,
  runsOf,
  takeSnapshot,
  untilLaterRunsHaveLaterIds,
  type Node,
} from "./repository-of-runs.ts";

const MiB = 1024 * 1024;

describe("forget and prune", () => {
  let place: Place;
  let node: Node;

  beforeEach(async () => {
    place = await makePlace();
    node = makeNode(place, "node1");
  });
  afterEach(async () => {
    await place.remove();
  });

  const put = (name: string, bytes: Buffer): void => {
    writeFileSync(join(node.source, name), bytes);
  };
  const forget = (...ids: string[]): Promise<unknown> =>
    forgetRuns({ ...appenderOf(place), choose: (runs) => runs.filter(({ id }) => ids.includes(id)) });

  it("give back what only a forgotten run needed, and leave the others whole", async () => {
    const stays = randomBytes(3 * MiB);
    put("stays", stays);
    put("goes", randomBytes(20 * MiB));
    const first = await backUpRun(place, node);
    rmSync(join(node.source, "goes"));
    const second = await backUpRun(place, node);
    await forget(first.id);
    expect((await runsOf(place)).map(({ id }) => id)).to.deep.equal([second.id]);
    expect(await keysUnder(place.store, "runs/")).to.deep.equal([layout.run(2), layout.run(3)]);
    await untilLaterRunsHaveLaterIds(first);
    const result = await prune(pruneOptions(place));
    expect(result.freedBytes).to.be.greaterThan(3 * MiB);
    expect(await keysUnder(place.store, `refs/${first.id}/`)).to.deep.equal([]);
    expect(await keysUnder(place.store, `manifests/${first.id}/`)).to.deep.equal([]);
    const tree = await restored(place, second, node);
    expect([...tree.keys()]).to.deep.equal(["stays"]);
    expect(tree.get("stays")?.equals(stays)).to.be.true;
    // The upkeep entry of the forget went into the spans of the prune's.
    expect(await keysUnder(place.store, "runs/")).to.deep.equal([layout.run(2), layout.run(4)]);
    const third = await backUpRun(place, node);
    expect(third).to.include({ sequence: 5, upkeepSequence: 4 });
    expect((await runsOf(place)).map(({ id }) => id)).to.deep.equal([third.id, second.id]);
  });

  it("make one index object of many small ones of a writer, which its next snapshot and a check read", async () => {
    put("a", randomBytes(100_000));
    const run = await backUpRun(place, node);
    const others = makeNode(place, "node2");
    await backUpRun(place, others);
    const [own = ""] = await keysUnder(place.store, "index/node1/");
    const copyIndex = async (): Promise<void> => {
      const bytes = (await place.store.get(own, 1e6)) ?? new Uint8Array();
      await place.store.put(layout.index("node1", randomBytes(16).toString("hex")), bytes);
    };
    for (let more = 0; more < 70; more++) await copyIndex();
    const dry = await prune({ ...pruneOptions(place), dryRun: true });
    expect(await keysUnder(place.store, "index/node1/")).to.have.length(71);
    const { deletedOthers, deletedPacks } = await prune(pruneOptions(place));
    expect({ deletedOthers, deletedPacks }).to.deep.equal({ deletedOthers: 64, deletedPacks: 0 });
    expect(dry.deletedOthers).to.equal(64);
    expect(await keysUnder(place.store, "index/node1/")).to.have.length(71 - 64 + 1);
    const { findings } = await checkAll(place);
    expect(findings).to.deep.equal([]);
    rmSync(node.cachePath);
    const next = await backUpRun(place, node);
    const packs = (of: Run): unknown =>
      of.parts.find(({ nodeId, kind }) => nodeId === "node1" && kind === "volume")?.totals;
    expect(packs(next)).to.deep.include({ newBytes: 0 });
    expect((await restored(place, run, node)).get("a")).to.have.length(100_000);
  });

  it("never forget the newest run, the last good one and the newest proven Raft state", async () => {
    put("a", randomBytes(1000));
    const good = await backUpRun(place, node);
    const { store, key, incarnation } = appenderOf(place);
    const failed = { ...good, id: newRunId(Date.now() + 1000), status: "failed" as const, parts: [] };
    for (const field of ["format", "repositoryId", "incarnation", "sequence", "previousDigest", "upkeepSequence"]) {
      Reflect.deleteProperty(failed, field);
    }
    await appendRun(store, key, incarnation, failed);
    await expectCode("SKEP_FORGET_REFUSED", () => forget(good.id));
    await expectCode("SKEP_FORGET_REFUSED", () => forget(failed.id));
    expect(await runsOf(place)).to.have.length(2);
  });

  it("go on where one was killed between its entry and its deletions", async () => {
    put("a", randomBytes(2 * MiB));
    const first = await backUpRun(place, node);
    const object = await place.store.get(layout.run(1), 1e6);
    put("a", randomBytes(2 * MiB));
    const second = await backUpRun(place, node);
    await forget(first.id);
    if (object !== null) await place.store.put(layout.run(1), object);
    expect((await runsOf(place)).map(({ id }) => id)).to.deep.equal([second.id]);
    await prune(pruneOptions(place));
    expect(await keysUnder(place.store, "runs/")).to.deep.equal([layout.run(2), layout.run(4)]);
  });

  it("retire first, and doom only what was retired for as long as a run may take", async () => {
    put("goes", randomBytes(2 * MiB));
    const first = await backUpRun(place, node);
    put("goes", randomBytes(2 * MiB));
    await backUpRun(place, node);
    await forget(first.id);
    const hour = 3_600_000;
    const packs = await keysUnder(place.store, "packs/");
    expect(await prune(pruneOptions(place, { graceMs: hour }))).to.include({ deletedPacks: 0, retiredBytes: 0 });
    // A pack of the day before.
    const old = new Date(Date.now() - 2 * hour);
    for (const key of packs) await utimes(join(place.storePath, key), old, old);
    const retiring = await prune(pruneOptions(place, { graceMs: hour }));
    expect(retiring.deletedPacks).to.equal(0);
    expect(retiring.retiredBytes).to.be.greaterThan(2 * MiB);
    const upkeep = await newestUpkeep(catalogueOf(place));
    expect(packsOf(upkeep?.retired)).to.have.length(1);
    expect(await prune(pruneOptions(place, { graceMs: hour }))).to.include({ deletedPacks: 0 });
    expect(await prune(pruneOptions(place, { graceMs: 0 }))).to.include({ deletedPacks: 1 });
  });

  it("let no run be committed that needs what was given up, nor one that began too long ago", async () => {
    const content = randomBytes(2 * MiB);
    put("a", content);
    const first = await backUpRun(place, node);
    rmSync(join(node.source, "a"));
    await backUpRun(place, node);
    put("a", content);
    // It counts on the first run's pack, as its cache says.
    const sleeper = { runId: newRunId(Date.now() + 60_000), node };
    const result = await takeSnapshot(place, node, sleeper.runId);
    const early = newRunId(Date.now() - 10_000);
    await forget(first.id);
    await prune(pruneOptions(place));
    const run = await commit(place, sleeper.runId, [{ node, result }]);
    const volume = run.parts.find(({ kind }) => kind === "volume");
    expect(volume).to.include({ status: "failed" });
    expect(volume?.error?.code).to.equal("SKEP_RUN_OBJECT_MISSING");
    expect(volume?.refs).to.be.undefined;
    await expectCode("SKEP_RUN_FENCED", () => commit(place, early, []));
    const next = await backUpRun(place, node);
    expect((await restored(place, next, node)).get("a")?.equals(content)).to.be.true;
  });

  it("have sparse packs' living chunks written anew by their writer, within a budget", async () => {
    put("stays", randomBytes(2 * MiB));
    put("zgoes", randomBytes(12 * MiB));
    const first = await backUpRun(place, node);
    rmSync(join(node.source, "zgoes"));
    const second = await backUpRun(place, node);
    await forget(first.id);
    const none = await prune(pruneOptions(place, { retireBytes: MiB }));
    expect(none.retiredBytes).to.equal(0);
    const some = await prune(pruneOptions(place));
    expect(some.retiredBytes).to.be.greaterThan(12 * MiB);
    const third = await backUpRun(place, node);
    expect(third.parts.find(({ kind }) => kind === "volume")?.totals?.newBytes).to.be.at.least(2 * MiB);
    await forget(second.id);
    const result = await prune(pruneOptions(place));
    expect(result.freedBytes).to.be.greaterThan(14 * MiB);
    expect([...(await restored(place, third, node)).keys()]).to.deep.equal(["stays"]);
  });

  it("change nothing in a dry run", async () => {
    put("a", randomBytes(2 * MiB));
    const first = await backUpRun(place, node);
    put("a", randomBytes(2 * MiB));
    await backUpRun(place, node);
    await forget(first.id);
    const before = await keysUnder(place.store, "");
    const result = await prune({ ...pruneOptions(place), dryRun: true });
    expect(result.freedBytes).to.be.greaterThan(2 * MiB);
    expect(await keysUnder(place.store, "")).to.deep.equal(before);
  });

  it("refuse where a run is missing or cannot be read, until the gap is accepted", async () => {
    put("a", randomBytes(1000));
    await backUpRun(place, node);
    await backUpRun(place, node);
    await backUpRun(place, node);
    await place.store.delete([layout.run(2)]);
    await expectCode("SKEP_UPKEEP_UNSAFE", () => prune(pruneOptions(place)));
    await prune({ ...pruneOptions(place), acceptGaps: true });
    expect(await runsOf(place)).to.have.length(2);
    // So far above the newest, there never was an entry.
    await place.store.put(layout.run(5000), Buffer.from("not a run"));
    await prune(pruneOptions(place));
    // A run may be what lies near the newest, whoever removed the entry between.
    await place.store.put(layout.run(99), Buffer.from("not a run"));
    await expectCode("SKEP_UPKEEP_UNSAFE", () => prune(pruneOptions(place)));
    await place.store.delete([layout.run(99)]);
    const newest = await backUpRun(place, node);
    await place.store.put(layout.run(newest.sequence), Buffer.from("not a run"));
    await expectCode("SKEP_UPKEEP_UNSAFE", () => prune(pruneOptions(place)));
  });

  it("refuse where the refs of a kept run cannot be read, and delete nothing", async () => {
    put("a", randomBytes(1000));
    const run = await backUpRun(place, node);
    await backUpRun(place, node);
    const key = run.parts.find(({ kind }) => kind === "volume")?.refs?.key ?? "";
    await place.store.put(key, Buffer.from("damaged"));
    const before = await keysUnder(place.store, "");
    await expectCode("SKEP_OBJECT_DAMAGED", () => prune(pruneOptions(place)));
    expect(await keysUnder(place.store, "")).to.deep.equal(before);
  });
});
