// One folder or file out of a snapshot, with what is below it. The manifest is in path order, so all of that stands
// together, and reading ends behind it. A file whose first name lies elsewhere is given as a file of its own, its
// further names here as links to that.
import { SkepError } from "../../errors.ts";
import type { ManifestEntry } from "../manifest.ts";
import { pathBytes, sortKeyOf } from "../path-order.ts";
import type { Snapshot, SnapshotEntry } from "./snapshot-reader.ts";

export interface SubtreeEntry {
  /** From the volume's root on; empty for the root itself. */
  path: Buffer;
  /** As in the manifest; of a file whose first name lies elsewhere, what that first name's entry says of it. */
  entry: SnapshotEntry;
  /** Another name of that file, which was given before; null for what is no link. */
  linkTo: Buffer | null;
}

/** First names outside of the subtree that are kept in mind; each has the extents of one line at most. */
const maxOutsideNames = 100_000;

/**
 * `path` without slashes at its ends; empty for all. Gives nothing where there is no such path. Throws
 * SKEP_SUBTREE_LINKS where too many files have their first names elsewhere, and what reading throws.
 */
export async function* readSubtree(snapshot: Snapshot, path: Buffer): AsyncGenerator<SubtreeEntry> {
  const outside = path.length === 0 ? new Map<string, never>() : await outsideNames(snapshot, path);
  /** What stands here for a first name elsewhere. */
  const standIns = new Map<string, Buffer>();
  for await (const entry of entriesBelow(snapshot, path)) {
    const here = pathBytes(entry.path, entry.pathBase64);
    const target = linkTargetOf(entry);
    const first = target === null ? undefined : outside.get(target.toString("latin1"));
    if (target === null || first === undefined) {
      yield { path: here, entry, linkTo: target };
      continue;
    }
    const standIn = standIns.get(target.toString("latin1"));
    if (standIn === undefined) standIns.set(target.toString("latin1"), here);
    yield { path: here, entry: first, linkTo: standIn ?? null };
  }
}

/** Entries at and below the path, in order, unchanged. */
export async function* entriesBelow(snapshot: Snapshot, path: Buffer): AsyncGenerator<SnapshotEntry> {
  const top = sortKeyOfPath(path);
  const entries = top.length === 0 ? snapshot.entries() : snapshot.entriesFrom(top);
  for await (const entry of entries) {
    const key = sortKeyOf(entry);
    if (isAtOrBelow(key, top)) yield entry;
    else if (Buffer.compare(key, top) > 0) return;
  }
}

/** Both as sortKeyOf gives them. */
function isAtOrBelow(key: Buffer, top: Buffer): boolean {
  if (top.length === 0) return true;
  if (!key.subarray(0, top.length).equals(top)) return false;
  return key.length === top.length || key[top.length] === 0;
}

function sortKeyOfPath(path: Buffer): Buffer {
  return sortKeyOf({ pathBase64: path.toString("base64") });
}

function linkTargetOf(entry: ManifestEntry): Buffer | null {
  if (entry.hardLinkTo === undefined && entry.hardLinkToBase64 === undefined) return null;
  return pathBytes(entry.hardLinkTo, entry.hardLinkToBase64);
}

/** Entries of the first names that links below the path lead out to. */
async function outsideNames(snapshot: Snapshot, path: Buffer): Promise<Map<string, SnapshotEntry>> {
  const top = sortKeyOfPath(path);
  const wanted = new Set<string>();
  for await (const entry of entriesBelow(snapshot, path)) {
    const target = linkTargetOf(entry);
    if (target === null || isAtOrBelow(sortKeyOfPath(target), top)) continue;
    wanted.add(target.toString("latin1"));
    if (wanted.size > maxOutsideNames) throw tooManyLinks(path);
  }
  const found = new Map<string, SnapshotEntry>();
  if (wanted.size === 0) return found;
  for await (const entry of snapshot.entries()) {
    const name = pathBytes(entry.path, entry.pathBase64).toString("latin1");
    if (!wanted.has(name)) continue;
    found.set(name, entry);
    if (found.size === wanted.size) break;
  }
  return found;
}

function tooManyLinks(path: Buffer): SkepError {
  return new SkepError({
    code: "SKEP_SUBTREE_LINKS",
    message: `more than ${maxOutsideNames} files in ${JSON.stringify(path.toString("utf8"))} have their first names elsewhere in the volume`,
    permanent: true,
    hint: "take a folder above it, or the whole volume",
  });
}
