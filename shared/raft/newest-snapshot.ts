// The snapshot file that an engine would load: the greatest name whose CRC holds. One whose CRC does not hold is being
// written at this moment, or is damaged; an engine renames it and takes the next older.
import { SkepError } from "../errors.ts";
import { parseSnapshotName, snapshotDirectory } from "./segments.ts";
import { decodeSnapshotFile, type SnapshotFile } from "./snapshot-file.ts";
import { stateTooLarge } from "./size-limits.ts";
import { readWhole, type SwarmFiles } from "./swarm-files.ts";
import { formatError } from "./wire.ts";

export interface FoundSnapshot {
  name: string;
  bytes: Uint8Array;
  file: SnapshotFile;
}

export interface DamagedSnapshot {
  path: string;
  reason: string;
}

/**
 * `newest` is null where no snapshot is sound: then the log must hold everything. `damaged` has those passed over.
 * Throws SKEP_RAFT_FORMAT where a file vanished since it was listed, or has another's name, SKEP_RAFT_TOO_LARGE.
 */
export async function newestSnapshot(
  files: SwarmFiles,
  longestBytes: number,
): Promise<{ newest: FoundSnapshot | null; damaged: DamagedSnapshot[] }> {
  const names = ((await files.list(snapshotDirectory)) ?? [])
    .map(parseSnapshotName)
    .filter((name) => name !== null)
    .sort((left, right) => right.term - left.term || right.index - left.index);
  const damaged: DamagedSnapshot[] = [];
  for (const { name, term, index } of names) {
    const path = `${snapshotDirectory}/${name}`;
    const bytes = await readSnapshot(files, path, longestBytes);
    if (bytes === null) throw formatError(`${path}: missing`);
    const file = decoded(bytes);
    if (typeof file === "string") {
      damaged.push({ path, reason: file });
      continue;
    }
    if (file.term !== term || file.index !== index) {
      throw formatError(`${path}: holds a snapshot of term ${file.term}, index ${file.index}`);
    }
    return { newest: { name, bytes, file }, damaged };
  }
  return { newest: null, damaged };
}

/** Those that are there and damaged at a second look: no engine is writing them. */
export async function stillDamaged(
  files: SwarmFiles,
  damaged: readonly DamagedSnapshot[],
  longestBytes: number,
): Promise<DamagedSnapshot[]> {
  const still: DamagedSnapshot[] = [];
  for (const { path } of damaged) {
    const bytes = await readSnapshot(files, path, longestBytes);
    const file = bytes === null ? null : decoded(bytes);
    if (typeof file === "string") still.push({ path, reason: file });
  }
  return still;
}

export function damagedWarning({ path, reason }: DamagedSnapshot): string {
  return `${path} is damaged (${reason}); an older one, or the whole log, is used instead`;
}

/** For the end of a refusal: "" where none is damaged. */
export function describeDamaged(damaged: readonly DamagedSnapshot[]): string {
  return damaged.map(({ path, reason }) => `; ${path} is damaged: ${reason}`).join("");
}

function readSnapshot(files: SwarmFiles, path: string, longestBytes: number): Promise<Uint8Array | null> {
  return readWhole(files, path, longestBytes, () => stateTooLarge(path, longestBytes));
}

/** What is wrong with it, where something is. */
function decoded(bytes: Uint8Array): SnapshotFile | string {
  try {
    return decodeSnapshotFile(bytes);
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_RAFT_FORMAT") return error.message;
    throw error;
  }
}
