// The order of a manifest: a folder before what is in it, siblings by the bytes of their names. With NUL, which no
// name holds, in place of each slash, that is the order of the bytes.
import type { ManifestEntry } from "./manifest.ts";

/** The bytes of a path that is text, or base64 where it is not valid UTF-8. */
export function pathBytes(path: string | undefined, pathBase64: string | undefined): Buffer {
  return pathBase64 === undefined ? Buffer.from(path ?? "", "utf8") : Buffer.from(pathBase64, "base64");
}

export function sortKeyOf(entry: Pick<ManifestEntry, "path" | "pathBase64">): Buffer {
  const key = pathBytes(entry.path, entry.pathBase64);
  for (let at = key.indexOf(0x2f); at >= 0; at = key.indexOf(0x2f, at + 1)) key[at] = 0;
  return key;
}
