// A tree and the disk under it: putting it there for good, and how much it takes.
import { execFile } from "node:child_process";
import { constants, lstat, open, readdir } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Puts the tree on disk: syncfs(2), by sync(1), once for all files; where that program can't, file by file. */
export async function flushTree(folder: string): Promise<void> {
  try {
    await run("sync", ["-f", folder]);
  } catch {
    await flushEach(Buffer.from(folder));
  }
}

async function flushEach(folder: Buffer): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true, encoding: "buffer" })) {
    const here = Buffer.concat([folder, Buffer.from("/"), entry.name]);
    if (entry.isDirectory()) await flushEach(here);
    else if (entry.isFile()) await flushOne(here);
  }
  await flushOne(folder);
}

async function flushOne(path: Buffer): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Allocated bytes below a folder. */
export async function treeBytes(folder: Buffer): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, encoding: "buffer" })) {
    const here = Buffer.concat([folder, Buffer.from("/"), entry.name]);
    bytes += entry.isDirectory() ? await treeBytes(here) : (await lstat(here)).blocks * 512;
  }
  return bytes;
}
