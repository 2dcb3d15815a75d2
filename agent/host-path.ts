// Paths of the host as this process sees them. An agent in a container has the host's root bound at, say, /host:
// then an absolute symlink of the host (/var/lib/docker -> /data/docker) would lead into the container. So links
// are followed by hand, as chroot would: never out of the host's root.
import { lstat, readlink } from "node:fs/promises";
import path from "node:path";
import { SkepError } from "../shared/errors.ts";

/** As many as Linux follows in one path (MAXSYMLINKS). */
const maxLinks = 40;

/**
 * Where the host's absolute path lies for this process, all symlinks followed within the host's root. What does
 * not exist is kept as it is. Throws SKEP_HOST_PATH_INVALID for a loop or a path that is not absolute.
 */
export async function resolveHostPath(hostRoot: string, hostPath: string): Promise<string> {
  const invalid = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_HOST_PATH_INVALID",
      message: `the host's path ${hostPath} ${why}`,
      permanent: true,
      hint: "is SKEP_HOST_ROOT the folder where the host's / is bound?",
    });
  if (!path.isAbsolute(hostPath)) throw invalid("is not absolute");
  const waiting = hostPath.split("/").reverse();
  const resolved: string[] = [];
  let links = 0;
  for (let segment = waiting.pop(); segment !== undefined; segment = waiting.pop()) {
    if (segment === "" || segment === ".") continue;
    if (segment === "..") {
      resolved.pop();
      continue;
    }
    const here = path.join(hostRoot, ...resolved, segment);
    const target = await linkTarget(here);
    if (target === null) {
      resolved.push(segment);
      continue;
    }
    if (++links > maxLinks) throw invalid("leads through too many symbolic links");
    if (path.isAbsolute(target)) resolved.length = 0;
    waiting.push(...target.split("/").reverse());
  }
  return path.join(hostRoot, ...resolved);
}

/** Null for what is no symlink, or not there. */
async function linkTarget(file: string): Promise<string | null> {
  try {
    return (await lstat(file)).isSymbolicLink() ? await readlink(file) : null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw error;
  }
}
