// Paths longer than the 4,095 bytes that the kernel takes at once (PATH_MAX): gone along folder by folder, through
// open folders (/proc/self/fd/N/…, which is what openat does).
import { closeSync, constants, openSync } from "node:fs";

const maxPathBytes = 4000;
const slash = 0x2f;
/** Without reading rights, and without a link followed at its end. */
const folderFlags =
  0o10000000 /* O_PATH, fcntl.h, which Node does not name */ | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * Calls `act` with a path to the same entry that is short enough; it is good during the call only. Of a long path no
 * link is followed at the places where it is cut. Throws what opening its folders throws, and what `act` throws.
 */
export function withReach<T>(path: Buffer, act: (path: Buffer) => T): T {
  if (path.length <= maxPathBytes) return act(path);
  let folder: number | null = null;
  let rest = path;
  try {
    while (rest.length > maxPathBytes) {
      const cut = rest.lastIndexOf(slash, maxPathBytes);
      if (cut <= 0) break;
      const next: number = openSync(within(folder, rest.subarray(0, cut)), folderFlags);
      if (folder !== null) closeSync(folder);
      folder = next;
      rest = rest.subarray(cut + 1);
    }
    return act(within(folder, rest));
  } finally {
    if (folder !== null) closeSync(folder);
  }
}

function within(folder: number | null, path: Buffer): Buffer {
  return folder === null ? path : Buffer.concat([Buffer.from(`/proc/self/fd/${folder}/`), path]);
}
