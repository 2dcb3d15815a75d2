// Prune beside writers that run, sleep and come back.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { newRunId } from "../../../../shared/repository/layout.ts";
import type { SnapshotResult } from "../../../../shared/repository/snapshot.ts";
import { forgetRuns } from "../../../../shared/repository/upkeep/forget.ts";
import { prune } from "../../../../shared/repository/upkeep/prune.ts";
import { makePlace, type Place } from "../snapshots.ts";
import { checkAll } from "./check-all.ts";
import { manyWritersAndOnePruner } from "./many-writers.ts";
import { appenderOf, backUpRun, commit, keysUnder, makeNode, pruneOptions, restored } from "./repository-of-runs.ts";

const MiB = 1024 * 1024;
const child = fileURLToPath(new URL("./sleeping-writer.ts", import.meta.url));

describe("prune beside writers", () => {
  let place: Place;

  beforeEach(async () => {
    place = await makePlace();
  });
  afterEach(async () => {
    await place.remove();
  });

  it("lets an agent that slept through a whole prune commit nothing that lies", async () => {
    const node = makeNode(place, "node1");
    writeFileSync(join(node.source, "a"), randomBytes(2 * MiB));
    const first = await backUpRun(place, node);
    rmSync(join(node.source, "a"));
    await backUpRun(place, node);
    // What it counts on goes while it sleeps; what it wrote before is not yet needed by any run.
    const content = randomBytes(40 * MiB);
    writeFileSync(join(node.source, "b"), content);
    const runId = newRunId(Date.now() + 3_600_000);
    const before = (await keysUnder(place.store, "packs/")).length;
    const writer = spawn(process.execPath, [child], { stdio: ["pipe", "pipe", "inherit"] });
    const exited = once(writer, "exit");
    writer.stdin.end(JSON.stringify({ storePath: place.storePath, made: place.made, node, runId }));
    const lines = createInterface({ input: writer.stdout })[Symbol.asyncIterator]();
    await lines.next();
    while ((await keysUnder(place.store, "packs/")).length === before) await sleep(2);
    writer.kill("SIGSTOP");
    await forgetRuns({ ...appenderOf(place), choose: (runs) => runs.filter(({ id }) => id === first.id) });
    expect((await prune(pruneOptions(place))).deletedPacks).to.be.greaterThan(1);
    writer.kill("SIGCONT");
    const line = await lines.next();
    const result = JSON.parse(line.value as string) as SnapshotResult;
    await exited;
    const run = await commit(place, runId, [{ node, result }]);
    expect(run.parts.find(({ kind }) => kind === "volume")?.status).to.equal("failed");
    expect((await checkAll(place)).findings).to.deep.equal([]);
    const next = await backUpRun(place, node);
    expect((await restored(place, next, node)).get("b")?.equals(content)).to.be.true;
  });

  // A hundred of them: test/soak/upkeep.test.ts.
  it("keeps whole what several agents write while it goes round", async () => {
    await manyWritersAndOnePruner(place, { writers: 4, runs: 3 });
  });
});
