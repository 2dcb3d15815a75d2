// Many writers and one pruner on one repository at once: runs of all nodes, each with new, kept and returning content, are
// committed while runs are forgotten and packs deleted without any grace.
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { newestUpkeep } from "../../../../shared/repository/chain.ts";
import { newRunId } from "../../../../shared/repository/layout.ts";
import type { Run } from "../../../../shared/repository/run.ts";
import type { SnapshotResult } from "../../../../shared/repository/snapshot.ts";
import { absentPacksOf } from "../../../../shared/repository/upkeep/absent-packs.ts";
import { forgetRuns, protectedRuns } from "../../../../shared/repository/upkeep/forget.ts";
import { prune } from "../../../../shared/repository/upkeep/prune.ts";
import type { Place } from "../snapshots.ts";
import { checkAll } from "./check-all.ts";
import {
  appenderOf,
  backUpRun,
  catalogueOf,
  commit,
  makeNode,
  pruneOptions,
  restored,
  runsOf,
  takeSnapshot,
  type Node,
} from "./repository-of-runs.ts";

/** Snapshots that are taken at the same moment. */
const atOnce = 4;
/** Longer than a run takes on any store: a prune without grace gives up what began before it. */
const leadMs = 3_600_000;

export async function manyWritersAndOnePruner(
  place: Place,
  { writers, runs }: { writers: number; runs: number },
): Promise<void> {
  const nodes = Array.from({ length: writers }, (_, number) => makeNode(place, `node${number}`));
  const kept = randomBytes(200_000);
  const comesBack = randomBytes(300_000);
  const taken: { run: Run; round: number }[] = [];
  const over = new AbortController();
  let prunes = 0;
  const pruning = (async () => {
    while (!over.signal.aborted) {
      await forgetRuns({
        ...appenderOf(place),
        choose: (all) => {
          const never = protectedRuns(all);
          return all.slice(1).filter(({ id }) => !never.has(id));
        },
      });
      await prune(pruneOptions(place));
      prunes++;
    }
  })();
  try {
    for (let round = 0; round < runs; round++) {
      for (const node of nodes) {
        writeFileSync(join(node.source, "kept"), kept);
        writeFileSync(join(node.source, "new"), `${node.id} ${round} ${randomBytes(1000).toString("hex")}`);
        if (round % 2 === 0) writeFileSync(join(node.source, "comes-back"), comesBack);
        else rmSync(join(node.source, "comes-back"));
      }
      taken.push({ run: await takeRun(place, nodes), round });
    }
  } finally {
    over.abort();
    await pruning;
  }
  expect(prunes).to.be.greaterThan(1);
  const { findings } = await checkAll(place);
  expect(findings).to.deep.equal([]);
  const left = await runsOf(place);
  expect(left.map(({ id }) => id)).to.include(taken.at(-1)?.run.id);
  // What stands in the chain as done can be read back whole.
  for (const run of left) {
    for (const node of nodes.slice(0, 3)) {
      const part = run.parts.find(({ kind, nodeId }) => kind === "volume" && nodeId === node.id);
      if (part?.status !== "done") continue;
      expect((await restored(place, run, node)).get("kept")?.equals(kept)).to.be.true;
    }
  }
  const last = await backUpRun(place, ...nodes.slice(0, 3));
  expect(last.status).to.equal("done");
}

async function takeRun(place: Place, nodes: readonly Node[]): Promise<Run> {
  const runId = newRunId(Date.now() + leadMs);
  const upkeep = await newestUpkeep(catalogueOf(place));
  const snapshots: { node: Node; result: SnapshotResult }[] = [];
  const waiting = nodes.values();
  const work = async (): Promise<void> => {
    for (const node of waiting) {
      const result = await takeSnapshot(place, node, runId, absentPacksOf(upkeep, node.id, 2000));
      snapshots.push({ node, result });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return await commit(place, runId, snapshots);
}
