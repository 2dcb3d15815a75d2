// A process of its own that puts objects into a directory store, to be killed, to race or to be refused:
//   node put-all.ts ROOT put 'KEY…'       one after the other, each 8 MiB of the bytes of its key's hash; a line for each
//   node put-all.ts ROOT create KEY TEXT  prints "won", "lost" or the code of the error
import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";
import { SkepError } from "../../../shared/errors.ts";
import { openDirectory } from "../../../shared/store/directory.ts";

/** What `put` stores under a key. */
export function bytesFor(key: string): Buffer {
  return Buffer.alloc(8 * 1024 * 1024, createHash("sha256").update(key).digest());
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [root = "", act, ...rest] = process.argv.slice(2);
  const store = openDirectory(root);
  try {
    if (act === "put") {
      for (const key of rest) {
        await store.put(key, bytesFor(key));
        process.stdout.write(`${key}\n`);
      }
    } else {
      const [key = "", text = ""] = rest;
      const stored = await store.putIfAbsent(key, Buffer.from(text));
      process.stdout.write(stored === null ? "lost" : "won");
    }
  } catch (error) {
    if (!(error instanceof SkepError)) throw error;
    process.stdout.write(`${error.code} ${String(error.permanent)} ${error.message}`);
  }
}
