// Compares a cache with the store, once a run, before it is believed: a restored machine, a replaced or rolled-back
// repository, a prune. What the cache knows too much is forgotten, what it lacks is read from the writer's index
// objects. So a lying cache costs time and nothing else. A writer that may create objects and nothing more cannot compare:
// it forgets what the controller names, and the commit looks for every pack in its stead.
import { SkepError } from "../errors.ts";
import type { ChunkCache } from "./chunk-cache.ts";
import { getIndex, type IndexPlace } from "./index-object.ts";
import { layout, objectIdPattern } from "./layout.ts";
import type { Warning } from "./run.ts";

const parallelHeads = 16;

/** First digits of a pack's name, which say which it is: keeps a job with thousands of them small. */
export const absentPackDigits = 16;

/**
 * What could not be read of the index, for the snapshot's warnings. `absentPacks`: beginnings of the names of packs that a
 * prune retired or gave up; they count as not there.
 */
export async function checkCache(
  cache: ChunkCache,
  place: IndexPlace,
  runId: string,
  signal: AbortSignal,
  absentPacks: readonly string[] = [],
): Promise<Warning[]> {
  const warnings: Warning[] = [];
  const absent = new Set(absentPacks);
  const isAbsent = ({ pack }: { pack: string }): boolean => absent.has(pack.slice(0, absentPackDigits));
  // Also where the comparison was made before anybody knew of them.
  for (const known of absent.size === 0 ? [] : cache.packs()) if (isAbsent(known)) cache.forgetPack(known.pack);
  if (cache.checkedFor === runId) return warnings;
  // Before the listing: what another snapshot adds meanwhile is not looked for in it.
  const cached = new Set(cache.indexObjects());
  const stored = new Set<string>();
  const prefix = layout.indexPrefix(place.writerId);
  try {
    for await (const { key } of place.store.list(prefix, signal)) {
      const object = key.slice(prefix.length);
      if (objectIdPattern.test(object)) stored.add(object);
    }
  } catch (error) {
    if (!(error instanceof SkepError) || error.code !== "SKEP_STORE_DENIED") throw error;
    cache.markChecked(runId);
    return warnings;
  }
  for (const object of cached) if (!stored.has(object)) cache.forgetIndex(object);
  for (const object of stored) {
    if (cached.has(object)) continue;
    try {
      const packs = await getIndex(place, object, signal);
      if (packs !== null)
        cache.addIndex(
          object,
          packs.filter((pack) => !isAbsent(pack)),
        );
    } catch (error) {
      // Damaged, or put there by somebody else: its chunks are written anew.
      if (!(error instanceof SkepError) || !error.permanent || error.code.startsWith("SKEP_STORE_")) throw error;
      warnings.push({ code: "SKEP_INDEX_UNREADABLE", message: error.message });
    }
  }
  await forgetMissingPacks(cache, place, signal);
  cache.markChecked(runId);
  return warnings;
}

async function forgetMissingPacks(cache: ChunkCache, place: IndexPlace, signal: AbortSignal): Promise<void> {
  const packs = cache.packs();
  let next = 0;
  const check = async (): Promise<void> => {
    for (let pack = packs[next++]; pack !== undefined; pack = packs[next++]) {
      const found = await place.store.head(layout.pack(pack.pack), signal);
      if (found?.sizeBytes !== pack.sizeBytes) cache.forgetPack(pack.pack);
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallelHeads, packs.length) }, check));
}
