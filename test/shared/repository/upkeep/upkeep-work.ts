// A repository of four runs, and the forgetting and pruning of the first two: to be killed at any moment.
import { randomBytes } from "node:crypto";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { forgetRuns } from "../../../../shared/repository/upkeep/forget.ts";
import { prune } from "../../../../shared/repository/upkeep/prune.ts";
import { openDirectory } from "../../../../shared/store/directory.ts";
import type { Place } from "../snapshots.ts";
import { appenderOf, backUpRun, makeNode, pruneOptions, type Home } from "./repository-of-runs.ts";

export interface UpkeepWork {
  /** Newest first. */
  keptRuns: string[];
  goneRuns: string[];
  /** A copy of the store as it was before; the caller removes its path. */
  copy: (name: string) => Home & { path: string };
  run: (home: Home) => Promise<void>;
}

export async function makeUpkeepWork(place: Place): Promise<UpkeepWork> {
  const node = makeNode(place, "node1");
  const runs: string[] = [];
  const back = async (): Promise<void> => {
    runs.push((await backUpRun(place, node)).id);
  };
  writeFileSync(join(node.source, "shared"), randomBytes(100_000));
  for (let round = 0; round < 2; round++) {
    writeFileSync(join(node.source, "goes"), randomBytes(100_000));
    await back();
  }
  rmSync(join(node.source, "goes"));
  await back();
  await back();
  const goneRuns = runs.slice(0, 2);
  return {
    keptRuns: runs.slice(2).reverse(),
    goneRuns,
    copy: (name) => {
      const path = join(place.path, name);
      cpSync(place.storePath, path, { recursive: true });
      return { path, store: openDirectory(path), made: place.made };
    },
    run: (home) => forgetAndPrune(home, goneRuns),
  };
}

export async function forgetAndPrune(home: Home, goneRuns: readonly string[]): Promise<void> {
  await forgetRuns({ ...appenderOf(home), choose: (all) => all.filter(({ id }) => goneRuns.includes(id)) });
  // The probe's own writes are the store's matter.
  await prune({ ...pruneOptions(home), exclusive: true });
}
