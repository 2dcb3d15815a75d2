// This node's cache of chunks: one file for all that the agent stores, compared with the store once a run.
import path from "node:path";
import { checkCache } from "../shared/repository/cache-check.ts";
import { ChunkCache } from "../shared/repository/chunk-cache.ts";
import type { Warning } from "../shared/repository/run.ts";
import type { AgentContext } from "./context.ts";

export type CachePlace = Pick<AgentContext, "stateDir" | "repositoryId" | "writerId" | "incarnation">;

/** To be closed. Never throws for what the file holds, or for a full disk (ChunkCache.open). */
export function openNodeCache({ stateDir, repositoryId, writerId, incarnation }: CachePlace): ChunkCache {
  return ChunkCache.open(path.join(stateDir, "chunks.sqlite"), { repositoryId, writerId, incarnation });
}

/**
 * Before a run's first volume is made quiet: a node of many packs asks a slow store for minutes, and a database would stand
 * still for all of them. Returns what could not be read of the index; throws what the store throws. A cache that fails is
 * left to the volumes, which say so.
 */
export async function compareNodeCache(
  context: CachePlace & Pick<AgentContext, "store" | "writerKeys">,
  runId: string,
  signal: AbortSignal,
): Promise<Warning[]> {
  const { store, repositoryId, writerId, writerKeys } = context;
  const cache = openNodeCache(context);
  try {
    // One in memory is gone after this.
    if (cache.problem !== null) return [];
    return await checkCache(cache, { store, repositoryId, writerId, sealKey: writerKeys.seal }, runId, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_SQLITE_ERROR") throw error;
    return [];
  } finally {
    cache.close();
  }
}
