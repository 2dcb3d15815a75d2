// Differences between snapshots, for people and as documents.
import type { EntryChange } from "../../shared/repository/open/tree-diff.ts";
import type { EntryChangeDocument, VolumeChange } from "./documents.ts";
import { documentOfEntry } from "./entry-line.ts";
import { showName } from "./entry-name.ts";
import * as format from "./format.ts";

const signs = { added: "+", removed: "-", changed: "~", same: "=" } as const;

/** `~ base/one  size 1 B -> 2 B, content, mtime`. */
export function describeEntryChange({ change, path, before, after, what }: EntryChange): string {
  const name = path.length === 0 ? "." : showName(path);
  const folder = (after ?? before)?.type === "directory" ? "/" : "";
  const said = what.map((word) => {
    const sizes = [before?.sizeBytes, after?.sizeBytes];
    if (word !== "size" || sizes[0] === undefined || sizes[1] === undefined) return word;
    return `size ${format.bytes(sizes[0])} -> ${format.bytes(sizes[1])}`;
  });
  return `${signs[change]} ${name}${folder}${said.length === 0 ? "" : `  ${said.join(", ")}`}`;
}

export function documentOfChange({ change, what, before, after }: EntryChange): EntryChangeDocument {
  return {
    change,
    what: [...what],
    before: before === null ? null : documentOfEntry(before),
    after: after === null ? null : documentOfEntry(after),
  };
}

/** `~ node2/www  3 added, 1 removed, 2 changed`. */
export function describeVolumeChange({ name, change, counts }: VolumeChange): string {
  const said = counts === null ? "" : `  ${counts.added} added, ${counts.removed} removed, ${counts.changed} changed`;
  return `${signs[change]} ${format.visible(name)}${said}`;
}
