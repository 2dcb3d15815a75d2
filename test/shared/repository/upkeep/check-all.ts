// Everything that a check without the identity can find.
import { layout } from "../../../../shared/repository/layout.ts";
import { checkRepository, type CheckOptions, type CheckResult } from "../../../../shared/repository/upkeep/check.ts";
import { makeContentCheck } from "../../../../shared/repository/upkeep/check-content.ts";
import { catalogueOf, keysOf, type Home } from "./repository-of-runs.ts";

export async function checkAll(home: Home, more: Partial<CheckOptions> = {}): Promise<CheckResult> {
  const { signal } = new AbortController();
  const content = makeContentCheck({ store: home.store, percent: 100, salt: "", opened: null, signal });
  const keyObjects = [layout.repositoryKey(1), layout.epochKey(1, 1)];
  return await checkRepository({
    catalogue: catalogueOf(home),
    keys: keysOf(home),
    keyObjects,
    content,
    signal,
    ...more,
  });
}
