// A lock between processes: a file that names its holder. A holder that died holds nothing.
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { isAlive, ownerSchema, thisOwner } from "./owner.ts";

const holderSchema = ownerSchema.extend({ turn: z.string().max(64) });

/**
 * Runs `work` while this process alone holds the lock file `path` (its folder must exist).
 * Waits as long as a living process holds it; two calls within one process wait for each other, too.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const turn = randomUUID();
  const mine = `${path}.${turn}`;
  await writeFile(mine, JSON.stringify({ ...thisOwner(), turn }), { mode: 0o600 });
  try {
    while (!(await tryLink(mine, path))) {
      await removeIfDead(path);
      await sleep(50, undefined, signal === undefined ? {} : { signal });
    }
  } finally {
    await rm(mine, { force: true });
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function removeIfDead(path: string): Promise<void> {
  const before = await readHolder(path);
  if (before === null || isAlive(before)) return;
  // Taken aside first: between the look and the removal somebody else may have got the lock.
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  const taken = await readHolder(aside);
  if (taken !== null && taken.turn !== before.turn && isAlive(taken)) await tryLink(aside, path);
  await rm(aside, { force: true });
}

async function readHolder(path: string): Promise<z.infer<typeof holderSchema> | null> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  return holderSchema.parse(JSON.parse(text));
}
