// Owner, extended attributes, mode and times of a restored entry, in this order: chown clears setuid and capabilities,
// an access ACL changes the mode's group bits, and everything else changes the times.
import { chmodSync, fchmodSync, fchownSync, lchownSync } from "node:fs";
import type { ManifestEntry } from "../repository/manifest.ts";
import { setTimes, writeXattr } from "../system-calls.ts";
import { systemErrorName } from "../system-error.ts";

/** What a file system, or a process that is not root, may refuse; everything else is a fault. */
const refusals = ["ENOTSUP", "EPERM", "EACCES", "E2BIG", "ERANGE", "EINVAL", "ENOSPC"];

/** Of an open file or folder. `leftOut` is told the attributes that could not be set, each with the error's name. */
export function setMetadata(descriptor: number, entry: ManifestEntry, leftOut: (what: string) => void): void {
  fchownSync(descriptor, entry.uid, entry.gid);
  setXattrs(descriptor, entry, leftOut);
  fchmodSync(descriptor, entry.mode);
  setTimes(descriptor, BigInt(entry.mtimeNs));
}

/** Of a link, fifo or device, which is not opened for it. */
export function setMetadataAt(path: Buffer, entry: ManifestEntry, leftOut: (what: string) => void): void {
  lchownSync(path, entry.uid, entry.gid);
  setXattrs(path, entry, leftOut);
  // A link has no mode. Nobody else can have put one in the place of what was just made in a folder of root's own.
  if (entry.type !== "symlink") chmodSync(path, entry.mode);
  setTimes(path, BigInt(entry.mtimeNs));
}

function setXattrs(target: number | Buffer, { xattrs }: ManifestEntry, leftOut: (what: string) => void): void {
  if (xattrs === undefined) return;
  for (const [name, value] of Object.entries(xattrs)) {
    try {
      writeXattr(target, Buffer.from(name), Buffer.from(value, "base64"));
    } catch (error) {
      const code = systemErrorName(error);
      if (code === null || !refusals.includes(code)) throw error;
      leftOut(`${name} (${code})`);
    }
  }
}
