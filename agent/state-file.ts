// Small files of the agent's state folder, written whole or not at all, for their owner alone.
import { open, readFile, rename } from "node:fs/promises";
import path from "node:path";
import { flushFolder } from "../shared/store/durable-file.ts";

/** Null where there is none. */
export async function readStateFile(file: string): Promise<string | null> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** Durable when it resolves. */
export async function writeStateFile(file: string, text: string): Promise<void> {
  const beside = `${file}.new`;
  const handle = await open(beside, "w", 0o600);
  try {
    await handle.writeFile(text, "utf8");
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(beside, file);
  await flushFolder(path.dirname(file));
}
