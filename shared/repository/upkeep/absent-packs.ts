// Which packs a writer must not count on, as far as its job can tell it: those that a prune retired or gave up.
import { absentPackDigits } from "../cache-check.ts";
import type { UpkeepEntry } from "../upkeep-entry.ts";

/** First digits of at most `limit` packs of that writer, those listed last first. */
export function absentPacksOf(upkeep: UpkeepEntry | null, writerId: string, limit: number): string[] {
  const absent = new Set<string>();
  for (const group of [...(upkeep?.retired ?? []), ...(upkeep?.doomed ?? [])]) {
    if (group.writerId !== writerId) continue;
    for (const pack of group.packs) absent.add(pack.slice(0, absentPackDigits));
  }
  return [...absent].slice(0, limit);
}
