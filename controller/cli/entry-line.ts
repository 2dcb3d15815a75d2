// One entry of a snapshot as a line for people, in the manner of `ls -l`.
import type { ManifestEntry } from "../../shared/repository/manifest.ts";
import type { SnapshotEntry } from "../../shared/repository/open/snapshot-reader.ts";
import { pathBytes } from "../../shared/repository/path-order.ts";
import type { EntryDocument } from "./documents.ts";
import { showName } from "./entry-name.ts";
import * as format from "./format.ts";

const typeLetters: Record<ManifestEntry["type"], string> = {
  file: "-",
  directory: "d",
  symlink: "l",
  fifo: "p",
  "character-device": "c",
  "block-device": "b",
};

/** `-rwsr-xr-x`, and `+` behind it where there are extended attributes. */
export function modeText({ type, mode, xattrs }: Pick<ManifestEntry, "type" | "mode" | "xattrs">): string {
  const triple = (shift: number, special: number, [set, bare]: readonly [string, string]): string => {
    const bits = (mode >> shift) & 7;
    const executes = (bits & 1) !== 0;
    const last = (mode & special) === 0 ? (executes ? "x" : "-") : executes ? set : bare;
    return `${(bits & 4) === 0 ? "-" : "r"}${(bits & 2) === 0 ? "-" : "w"}${last}`;
  };
  const rights = triple(6, 0o4000, ["s", "S"]) + triple(3, 0o2000, ["s", "S"]) + triple(0, 0o1000, ["t", "T"]);
  return `${typeLetters[type]}${rights}${xattrs === undefined ? "" : "+"}`;
}

/** `1969-12-31 23:59:59`, UTC; what no calendar has, as seconds. */
export function mtimeText(mtimeNs: string): string {
  const milliseconds = Number(BigInt(mtimeNs) / 1_000_000n);
  if (Math.abs(milliseconds) > 8.64e15) return `${mtimeNs.slice(0, -9)} s`;
  return new Date(milliseconds).toISOString().slice(0, 19).replace("T", " ");
}

export function entryLine(entry: ManifestEntry): string {
  const path = showName(pathBytes(entry.path, entry.pathBase64));
  const size = entry.device?.join(", ") ?? (entry.sizeBytes === undefined ? "-" : format.bytes(entry.sizeBytes));
  const columns = [
    modeText(entry).padEnd(11),
    `${entry.uid}:${entry.gid}`.padStart(11),
    size.padStart(9),
    mtimeText(entry.mtimeNs),
    `${path === "" ? "." : path}${behindName(entry)}`,
  ];
  return columns.join(" ");
}

function behindName(entry: ManifestEntry): string {
  const { linkTarget, linkTargetBase64, hardLinkTo, hardLinkToBase64, changedWhileRead } = entry;
  if (entry.type === "symlink") return ` -> ${showName(pathBytes(linkTarget, linkTargetBase64))}`;
  if (hardLinkTo !== undefined || hardLinkToBase64 !== undefined) {
    return ` = ${showName(pathBytes(hardLinkTo, hardLinkToBase64))}`;
  }
  return changedWhileRead === true ? "  (changed while it was read)" : "";
}

/** Without where its content lies. */
export function documentOfEntry(entry: SnapshotEntry): EntryDocument {
  const document: EntryDocument & Partial<SnapshotEntry> = { ...entry };
  delete document.extents;
  delete document.moreLines;
  delete document.nextLineAt;
  return document;
}
