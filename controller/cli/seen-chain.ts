// What this machine's operator saw of a repository's chain last: the memory outside of the store without which nobody notices
// that the newest runs were taken away. One small file a repository, in the user's state folder.
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { digestPattern } from "../../shared/repository/layout.ts";

const seenSchema = z.strictObject({
  format: z.literal(1),
  sequence: z.int().min(1),
  digest: z.string().regex(digestPattern),
});
export type SeenChain = Omit<z.infer<typeof seenSchema>, "format">;

function pathOf(repositoryId: string): { folder: string; path: string } {
  const folder = join(process.env["XDG_STATE_HOME"] ?? join(homedir(), ".local", "state"), "skep", "seen");
  return { folder, path: join(folder, `${repositoryId}.json`) };
}

/** Null where nothing was noted. Throws SKEP_SEEN_INVALID. */
export async function readSeenChain(repositoryId: string): Promise<SeenChain | null> {
  const { path } = pathOf(repositoryId);
  try {
    const { sequence, digest } = seenSchema.parse(JSON.parse(await readFile(path, "utf8")));
    return { sequence, digest };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new SkepError({
      code: "SKEP_SEEN_INVALID",
      message: `${path}, which notes the newest run that was seen, cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      permanent: true,
      hint: "remove it, if you know why; the next check notes anew",
      cause: error,
    });
  }
}

/** Throws SKEP_SEEN_INVALID where it cannot be written. */
export async function noteSeenChain(repositoryId: string, seen: SeenChain): Promise<void> {
  const { folder, path } = pathOf(repositoryId);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const beside = `${path}.${process.pid}.new`;
    await writeFile(beside, `${JSON.stringify({ format: 1, ...seen })}\n`, { mode: 0o600, flush: true });
    await rename(beside, path);
  } catch (error) {
    throw new SkepError({
      code: "SKEP_SEEN_INVALID",
      message: `the newest run cannot be noted in ${path}: ${error instanceof Error ? error.message : String(error)}`,
      permanent: true,
      hint: "all was checked; make room, or name another folder by XDG_STATE_HOME",
      cause: error,
    });
  }
}
