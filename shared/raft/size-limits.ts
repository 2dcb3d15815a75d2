// How large a swarm's Raft state may be. One place, so that every copy that was proven can be read again: a run, a file and a
// recovery take what a copy takes.
import { SkepError } from "../errors.ts";

const mebibyte = 1024 * 1024;

/** Held in memory when it is read; an engine keeps all of it in memory too. */
export const longestSnapshotBytes = 512 * mebibyte;
/** All segments of one copy. */
export const longestWalBytes = 4096 * mebibyte;
/** Certificates, key, state files and what an archive says of itself, all together; they are held in memory. */
export const longestSmallFilesBytes = 16 * mebibyte;
/** A copy in a tar, whose headers and padding are counted too. */
export const longestArchiveBytes = longestSnapshotBytes + longestWalBytes + 4 * longestSmallFilesBytes;
/** An engine's swarm directory has some dozen files. */
export const mostArchivedFiles = 100_000;

/** SKEP_RAFT_TOO_LARGE of a living swarm's directory. `what`: the part that is. */
export function stateTooLarge(what: string, longestBytes: number): SkepError {
  return new SkepError({
    code: "SKEP_RAFT_TOO_LARGE",
    message: `${what} is longer than ${longestBytes} bytes, more than Skep copies and reads`,
    permanent: true,
    hint: "fewer log entries between snapshots (docker swarm update --snapshot-interval 1000), fewer and smaller configs and secrets",
  });
}

/** SKEP_RAFT_TOO_LARGE of a tar. */
export function archiveTooLarge(): SkepError {
  return new SkepError({
    code: "SKEP_RAFT_TOO_LARGE",
    message: `the archive unpacks to more than ${longestArchiveBytes} bytes, ${mostArchivedFiles} files, or ${longestSmallFilesBytes} bytes beside snapshots and log`,
    permanent: true,
    hint: "no copy that Skep proved is so large: unpack it with age, zstd and tar, and name the folder",
  });
}
