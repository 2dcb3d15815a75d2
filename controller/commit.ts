// The end of a run: every object that it would name is looked for, its runbook is written, then it is appended to the chain. Where a prune came
// between the two, what was looked for may be gone, so it is looked for again.
import { SkepError } from "../shared/errors.ts";
import { newestUpkeep } from "../shared/repository/chain.ts";
import type { Catalogue } from "../shared/repository/catalogue.ts";
import type { AppendRunOptions, NewRun } from "../shared/repository/run-chain.ts";
import type { Run } from "../shared/repository/run.ts";
import type { CatalogueKeys } from "../shared/repository/upkeep/refs-lines.ts";
import type { RepositoryObject } from "../shared/repository/repository-object.ts";
import type { StoreLocation } from "../shared/store/location.ts";
import { PackCheck } from "./pack-check.ts";
import { withRunbook } from "./runbook/write-runbook.ts";
import type { RunOutcomes } from "./run-plan.ts";
import { checkObjects } from "./run-results.ts";

/** Prunes that come one after the other in the moment of a commit; more than this is a fault. */
const maxRounds = 10;

export interface Commit {
  catalogue: Catalogue;
  keys: CatalogueKeys;
  runId: string;
  outcomes: RunOutcomes;
  repository: RepositoryObject;
  location: StoreLocation;
  /** The run object's content, from outcomes whose objects are all there. */
  conclude: (outcomes: RunOutcomes) => NewRun;
  append: (run: NewRun, options: AppendRunOptions) => Promise<Run>;
}

/** Throws what the store and appendRun throw. */
export async function commitRun({ runId, outcomes, conclude, append, ...at }: Commit): Promise<Run> {
  const { catalogue, keys, repository, location } = at;
  const { store } = keys;
  for (let round = 1; ; round++) {
    const checkedUnder = await newestUpkeep(catalogue);
    const check = new PackCheck(keys, checkedUnder);
    const found = await checkObjects(runId, outcomes, store, check);
    const runbook = { store, location, repository, packs: check.needed, now: Date.now() };
    const run = await withRunbook(conclude(found), runbook);
    try {
      return await append(run, { checkedUnder });
    } catch (error) {
      const isStale = error instanceof SkepError && error.code === "SKEP_RUN_CHECK_STALE";
      if (!isStale || round >= maxRounds) throw error;
    }
  }
}
