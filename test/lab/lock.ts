// A lock between processes, by flock(2): the kernel frees it whenever its holder ends, however that happens.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import { cacheFolder } from "./cache.ts";

/**
 * Runs `work` while nobody else on the machine, and no other call in this process, holds the lock `name` (anything that
 * two who mean the same thing both say, such as the path of the thing). Waits as long as it takes; `signal` ends the wait.
 */
export async function withLock<T>(name: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const folder = join(cacheFolder(), "locks");
  await mkdir(folder, { recursive: true });
  const file = join(folder, createHash("sha256").update(name).digest("hex").slice(0, 24));
  // It holds the lock until its stdin ends, which it does with this process at the latest.
  const argv = ["--exclusive", file, "sh", "-c", "echo held; exec cat"];
  const holder = spawn("flock", argv, { stdio: ["pipe", "pipe", "inherit"], ...(signal !== undefined && { signal }) });
  const ended = once(holder, "close");
  ended.catch(() => undefined);
  try {
    await Promise.race([once(holder.stdout, "data"), ended.then(throwNotHeld)]);
    return await work();
  } finally {
    holder.stdin.end();
    await ended;
  }
}

function throwNotHeld(): never {
  throw new SkepError({ code: "SKEP_LAB_LOCK", message: "flock ended without the lock", permanent: false });
}
