// Reads the extended attributes of a tree's entries for the manifest: POSIX ACLs (system.posix_acl_access and _default)
// and capabilities (security.capability) are among them. Asks no more where the file system has none.
import { isUtf8 } from "node:buffer";
import { systemErrorName } from "../../shared/system-error.ts";
import { readXattrs } from "../../shared/system-calls.ts";

/** Of one entry, names and values: its manifest line stays within what a reader takes. */
const maxEntryBytes = 4 * 1024 * 1024;

export class XattrReader {
  readonly #leftOut: (path: Buffer, why: string) => void;
  #hasXattrs = true;

  /** `leftOut` is told what no manifest holds. */
  constructor(leftOut: (path: Buffer, why: string) => void) {
    this.#leftOut = leftOut;
  }

  /** Name → base64, of the entry at `here`, links not followed; null: none. Throws what reading them throws. */
  read(here: Buffer, path: Buffer): Record<string, string> | null {
    if (!this.#hasXattrs) return null;
    let found: Map<string, Buffer>;
    try {
      found = readXattrs(here);
    } catch (error) {
      if (systemErrorName(error) !== "ENOTSUP") throw error;
      // The walk stays on one file system, and its root, the first that is asked, is a folder.
      if (path.length === 0) this.#hasXattrs = false;
      return null;
    }
    if (found.size === 0) return null;
    const xattrs: Record<string, string> = {};
    let bytes = 0;
    for (const [latin1, value] of found) {
      const name = Buffer.from(latin1, "latin1").toString("utf8");
      bytes += latin1.length + value.length;
      if (!isUtf8(Buffer.from(latin1, "latin1"))) {
        this.#leftOut(path, `the extended attribute ${name}, whose name is no text, was left out`);
      } else if (bytes > maxEntryBytes) {
        this.#leftOut(path, `extended attributes from ${name} on were left out: together they have more than 4 MiB`);
        break;
      } else xattrs[name] = value.toString("base64");
    }
    return xattrs;
  }
}
