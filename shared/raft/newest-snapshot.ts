// The snapshot file that an engine would load: the greatest name whose CRC holds. One whose CRC does not hold is being
// written at this moment, or is damaged; an engine renames it and takes the next older.
import { SkepError } from "../errors.ts";
import { parseSnapshotName, snapshotDirectory } from "./segments.ts";
import { decodeSnapshotFile, type SnapshotFile } from "./snapshot-file.ts";
import { readWhole, type SwarmFiles } from "./swarm-files.ts";
import { formatError } from "./wire.ts";

export interface FoundSnapshot {
  name: string;
  bytes: Uint8Array;
  file: SnapshotFile;
}

/**
 * `newest` is null where no snapshot is sound: then the log must hold everything. `damaged` has the paths passed over.
 * Throws SKEP_RAFT_FORMAT where a file vanished since it was listed, or has another's name.
 */
export async function newestSnapshot(
  files: SwarmFiles,
  longestBytes: number,
): Promise<{ newest: FoundSnapshot | null; damaged: string[] }> {
  const names = ((await files.list(snapshotDirectory)) ?? [])
    .map(parseSnapshotName)
    .filter((name) => name !== null)
    .sort((left, right) => right.term - left.term || right.index - left.index);
  const damaged: string[] = [];
  for (const { name, term, index } of names) {
    const path = `${snapshotDirectory}/${name}`;
    const bytes = await readWhole(files, path, longestBytes);
    if (bytes === null) throw formatError(`${path}: missing`);
    let file: SnapshotFile;
    try {
      file = decodeSnapshotFile(bytes);
    } catch (error) {
      if (!(error instanceof SkepError) || error.code !== "SKEP_RAFT_FORMAT") throw error;
      damaged.push(path);
      continue;
    }
    if (file.term !== term || file.index !== index) {
      throw formatError(`${path}: holds a snapshot of term ${file.term}, index ${file.index}`);
    }
    return { newest: { name, bytes, file }, damaged };
  }
  return { newest: null, damaged };
}
