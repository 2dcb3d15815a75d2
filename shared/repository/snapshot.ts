// What a source hands to the snapshot writer, and what it gets back. The source walks and describes; the
// writer reads the files itself, so that one worker can carry a file through all stages.
import type { ManifestEntry } from "./manifest.ts";
import type { PartTotals, StoredObject, Warning } from "./run.ts";

/** A manifest entry before its content was read. */
export type EntryMetadata = Omit<ManifestEntry, "extents" | "sizeBytes" | "changedWhileRead">;

/** A regular file to be read (of several names: only the first). */
export interface SourceFile {
  /** Absolute path in this process's view, as bytes: names need not be UTF-8. */
  path: Buffer;
  sizeBytes: number;
  mtimeNs: bigint;
  ctimeNs: bigint;
  inode: bigint;
  /** A file of the same content that is read instead, as it is on disk. */
  standIn?: { path: Buffer; mtimeNs: bigint; ctimeNs: bigint; inode: bigint };
}

export interface SourceEntry {
  metadata: EntryMetadata;
  /** Null for everything but a regular file. */
  file: SourceFile | null;
  /** Instead of `file`: a regular file's content as it comes. In a snapshot of few entries only: before any page of the manifest. */
  stream?: AsyncIterable<Uint8Array>;
  /** The stream has the same bytes whenever the volume's identity is the same: not begun where they are known. */
  streamIsFixed?: boolean;
}

/** In path order: a folder before what is in it, siblings by the bytes of their names. */
export type SourceEntries = AsyncIterable<SourceEntry>;

export interface SnapshotResult {
  manifest: StoredObject;
  refs: StoredObject;
  totals: PartTotals;
  /** E.g. a file that changed while it was read, or vanished: SKEP_SOURCE_FILE_CHANGED, SKEP_SOURCE_FILE_VANISHED. */
  warnings: Warning[];
  warningsLeftOut: number;
  /** False where a file could not be read (SKEP_SOURCE_FILE_UNREADABLE): the part is `partial`. */
  complete: boolean;
}
