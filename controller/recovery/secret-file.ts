// A file of a recovery's folder on the operator's machine that holds a secret: for its owner alone, whole or not at all.
import { open, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { flushFolder } from "../../shared/store/durable-file.ts";

/** Replaces what is at `path`; it is on the disk when this ends. */
export async function writeSecretFile(path: string, text: string): Promise<void> {
  const partial = `${path}.partial`;
  await writeFile(partial, text, { mode: 0o600 });
  const file = await open(partial, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(partial, path);
  await flushFolder(dirname(path));
}
