// The folder of what can always be made again: root file systems, layers of images, modules. Each thing in it is made
// beside its place, under a lock of its name, and renamed to it when it is whole; it is never written to afterwards.
import { readFile, readdir, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { command } from "./command.ts";

/** SKEP_LAB_CACHE names another. */
export function cacheFolder(): string {
  return process.env["SKEP_LAB_CACHE"] ?? "/var/cache/skep-lab";
}

/** Marks a thing in the cache as used now; false when it is not there. */
export async function touch(path: string): Promise<boolean> {
  try {
    await utimes(path, new Date(), new Date());
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/** Removes things of a name like `pattern` that nobody asked for in `days`, other checkouts of the project included. */
export async function removeUnused(pattern: RegExp, days: number): Promise<void> {
  const oldestMs = Date.now() - days * 24 * 3600 * 1000;
  const mounts = await readFile("/proc/self/mounts", "utf8");
  for (const entry of await readdir(cacheFolder())) {
    const path = join(cacheFolder(), entry);
    // What is mounted is the root of a lab that is up.
    if (!pattern.test(entry) || mounts.includes(path)) continue;
    if ((await stat(path)).mtimeMs < oldestMs) await rm(path, { recursive: true, force: true });
  }
}

/** A copy of folder `from` as `to` (absent yet), by hard links where both are on one file system: neither may be written to in place. */
export async function linkTree(from: string, to: string): Promise<void> {
  const canLink = (await stat(from)).dev === (await stat(join(to, ".."))).dev;
  await command(["cp", "--archive", canLink ? "--link" : "--reflink=auto", from, to]);
}
