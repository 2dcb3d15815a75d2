// Which of several unlock keys opens a copy: the one that came with it, one that was given for it, or for another copy of the
// same call. Keys are rotated, so none of them is the right one for all.
import { SkepError } from "../errors.ts";
import { readDataKeys } from "./data-keys.ts";
import { decodeKeyFile, longestKeyFileBytes, type KeyFile } from "./key-file.ts";
import { readWhole, type SwarmFiles } from "./swarm-files.ts";

/** The first that opens it; null where none does. Throws what readDataKeys throws but for SKEP_RAFT_UNLOCK_KEY. */
export function fittingKey(keyFile: KeyFile, keys: readonly Uint8Array[]): Uint8Array | null {
  for (const key of keys) {
    try {
      readDataKeys(keyFile, key);
      return key;
    } catch (error) {
      if (!(error instanceof SkepError) || error.code !== "SKEP_RAFT_UNLOCK_KEY") throw error;
    }
  }
  return null;
}

/** The key to read `files` with: where none of them fits the first, so that the reader says so; null where there is none. */
export async function chooseUnlockKey(
  files: SwarmFiles,
  keys: readonly (Uint8Array | null)[],
): Promise<Uint8Array | null> {
  const known = keys.filter((key) => key !== null);
  const bytes = await readWhole(files, "certificates/swarm-node.key", longestKeyFileBytes);
  const fitting = bytes === null ? null : fittingKey(decodeKeyFile(bytes), known);
  return fitting ?? known[0] ?? null;
}
