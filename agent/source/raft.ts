// The Raft part of a run, on a manager: marker write, hot copy, proof.
// The marker is a write through the API just before the copy. A manager's disk learns that an entry is committed only
// with the next write, so without it the newest acknowledged writes could be in the copy as entries that a forced new
// cluster drops. With it, everything acknowledged before has an index below the marker's version, and the copy is taken
// only once the disk says that the marker's version is committed.
import { SkepError } from "../../shared/errors.ts";
import { copySwarmDirectory, type CopyLimits, type SwarmCopy } from "../../shared/raft/copy.ts";
import { directoryFiles } from "../../shared/raft/swarm-files.ts";

export interface RaftSource {
  /** The engine's swarm directory, `<data root>/swarm`, as this process sees it. */
  swarmDirectory: string;
  /** An existing directory of mode 0700 on local disk; the caller removes it when the copy has been stored. */
  stagingDirectory: string;
  /** Makes one write that changes nothing (a node update with its own spec) and gives the version index it got. */
  markerWrite: () => Promise<number | bigint>;
  /** Gives the unlock key that the API tells of an autolocked swarm; without it the content of its copy stays unproven. */
  unlockKey?: () => Promise<Uint8Array>;
  signal: AbortSignal;
  limits?: Partial<CopyLimits>;
}

/** Throws what the marker write throws, and what copySwarmDirectory throws. */
export async function takeRaftCopy(source: RaftSource): Promise<SwarmCopy> {
  const markerIndex = Number(await source.markerWrite());
  if (!Number.isSafeInteger(markerIndex) || markerIndex < 1) {
    throw new SkepError({
      code: "SKEP_RAFT_MARKER",
      message: "the engine gave no usable version for the write before the Raft copy",
      permanent: false,
    });
  }
  return copySwarmDirectory({
    source: directoryFiles(source.swarmDirectory),
    stagingDirectory: source.stagingDirectory,
    signal: source.signal,
    markerIndex,
    ...(source.unlockKey === undefined ? {} : { unlockKey: source.unlockKey }),
    ...(source.limits === undefined ? {} : { limits: source.limits }),
  });
}
