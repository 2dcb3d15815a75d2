// What a prune goes by, wherever it is begun.
import type { PruneOptions } from "../shared/repository/upkeep/prune.ts";

export const pruneTerms: PruneOptions["terms"] = {
  graceMs: 24 * 3_600_000,
  sparseShare: 0.5,
  retireBytes: 2 * 1024 ** 3,
};
