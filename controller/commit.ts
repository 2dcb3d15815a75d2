// The end of a run: every object that it would name is looked for, then it is appended to the chain. Where a prune came
// between the two, what was looked for may be gone, so it is looked for again.
import { SkepError } from "../shared/errors.ts";
import { newestUpkeep } from "../shared/repository/chain.ts";
import type { Catalogue } from "../shared/repository/catalogue.ts";
import type { AppendRunOptions, NewRun } from "../shared/repository/run-chain.ts";
import type { Run } from "../shared/repository/run.ts";
import type { CatalogueKeys } from "../shared/repository/upkeep/refs-lines.ts";
import type { RunOutcomes } from "./run-plan.ts";
import { checkObjects } from "./run-results.ts";

/** Prunes that come one after the other in the moment of a commit; more than this is a fault. */
const maxRounds = 10;

export interface Commit {
  catalogue: Catalogue;
  keys: CatalogueKeys;
  runId: string;
  outcomes: RunOutcomes;
  /** The run object's content, from outcomes whose objects are all there. */
  conclude: (outcomes: RunOutcomes) => NewRun;
  append: (run: NewRun, options: AppendRunOptions) => Promise<Run>;
}

/** Throws what the store and appendRun throw. */
export async function commitRun({ catalogue, keys, runId, outcomes, conclude, append }: Commit): Promise<Run> {
  for (let round = 1; ; round++) {
    const checkedUnder = await newestUpkeep(catalogue);
    const found = await checkObjects(runId, outcomes, keys, checkedUnder);
    try {
      return await append(conclude(found), { checkedUnder });
    } catch (error) {
      const isStale = error instanceof SkepError && error.code === "SKEP_RUN_CHECK_STALE";
      if (!isStale || round >= maxRounds) throw error;
    }
  }
}
