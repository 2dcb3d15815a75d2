// What the walk's thread and its owner say to each other. Entries cross as JSON text, which takes a third of the time
// of copying objects.
import type { ErrorRecord } from "../../shared/errors.ts";
import type { EntryMetadata } from "../../shared/repository/snapshot.ts";
import type { WalkedEntry, WalkFindings } from "./tree-walk.ts";

export interface WalkThreadSettings {
  root: string;
  excludePaths: readonly string[];
}

/** To the thread: one more batch. */
export type ToWalkThread = "next";

export type FromWalkThread =
  /** `findings`: of the whole walk, with its last batch; before that null. */
  { kind: "entries"; entries: string; findings: WalkFindings | null } | { kind: "failed"; error: ErrorRecord };

type Encoded = [EntryMetadata, [sizeBytes: number, mtimeNs: string, ctimeNs: string, inode: string] | null];

export function encodeWalked(entries: readonly WalkedEntry[]): string {
  const encoded = entries.map(({ metadata, file }): Encoded => {
    if (file === null) return [metadata, null];
    return [metadata, [file.sizeBytes, String(file.mtimeNs), String(file.ctimeNs), String(file.inode)]];
  });
  return JSON.stringify(encoded);
}

/** The inverse; only for what encodeWalked gave. */
export function decodeWalked(text: string): WalkedEntry[] {
  return (JSON.parse(text) as Encoded[]).map(([metadata, file]) => {
    if (file === null) return { metadata, file };
    const [sizeBytes, mtimeNs, ctimeNs, inode] = file;
    return { metadata, file: { sizeBytes, mtimeNs: BigInt(mtimeNs), ctimeNs: BigInt(ctimeNs), inode: BigInt(inode) } };
  });
}
