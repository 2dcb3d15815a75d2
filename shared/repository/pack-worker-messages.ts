// What the snapshot writer (main thread) and its pack workers say to each other. A pack lies in memory that both see, in
// turns, everything else is copied: V8 takes each transfer of 16 MiB for memory that was allocated, and collects.
import type { ErrorRecord } from "../errors.ts";
import type { AgeHeader } from "./age.ts";
import type { KeyBytes } from "./keys.ts";
import type { PackRow } from "./pack-format.ts";

export interface PackWorkerSettings {
  chunkNameKey: KeyBytes;
  chunkerKey: KeyBytes;
  /** To be read for what is known; null: nothing is. */
  cachePath: string | null;
  /** 64-bit slots: which chunks some worker of this snapshot took on itself (ChunkClaims). */
  claims: SharedArrayBuffer;
  /** Of what is being read (ReadCounter). */
  readCount: SharedArrayBuffer;
}

export interface FileToRead {
  /** Bytes of the path as latin1, which survives any name and copies cheaply. */
  path: string;
  sizeBytes: number;
  /** As it was when the tree was walked. */
  mtimeNs: bigint;
  ctimeNs: bigint;
  inode: bigint;
}

export interface FileRead {
  /** Null: read. */
  fault: { kind: "vanished" | "unreadable"; message: string } | null;
  /** Read bytes: the extents add up to it. */
  sizeBytes: number;
  /** As it was when it was read; where `steady` is false, afterwards. */
  mtimeNs: bigint;
  ctimeNs: bigint;
  inode: bigint;
  /** False: it changed while it was read. */
  steady: boolean;
  /** ExtentList records. */
  extents: Uint8Array;
  /** Of small files, the tiniest excepted: the content's keyed digest, under which the cache finds its extent again. */
  contentDigest: Uint8Array | null;
}

export type PackTask =
  /** Whole files that share chunks; read again once where they change. */
  | { kind: "small-files"; files: FileToRead[] }
  /** Bytes [start, end) of one file. */
  | { kind: "segment"; file: FileToRead; start: number; end: number }
  /** The next lines of the manifest. */
  | { kind: "lines"; bytes: Uint8Array }
  | { kind: "end-lines" }
  /** Closes the open pack, however small. */
  | { kind: "flush" }
  /** Moves the cache's log into the cache, which waits for the disk. */
  | { kind: "checkpoint" };

export interface PackTaskResult {
  /** In the order of the task's files. */
  files: FileRead[];
  /** Of end-lines. */
  lines: Uint8Array | null;
  /** Plain bytes of chunks that were not there before. */
  newBytes: number;
  /** What it added to the count of what is being read: to be taken from it when this is known. */
  countedBytes: number;
}

export interface SealedPack {
  /** BLAKE3-256 of the file. */
  pack: string;
  headerBytes: number;
  sizeBytes: number;
  chunks: PackRow[];
}

/** What a pack is made in: its header and file key, and the buffer of one that was stored, or null for a new one. */
export interface PackRoom {
  age: AgeHeader;
  buffer: SharedArrayBuffer | null;
}

export type ToPackWorker = { kind: "task"; id: number; task: PackTask } | { kind: "room"; room: PackRoom };

export type FromPackWorker =
  | { kind: "done"; id: number; result: PackTaskResult }
  /** The first sizeBytes of the buffer; it comes back in a room when they are stored. */
  | { kind: "pack"; pack: SealedPack; buffer: SharedArrayBuffer }
  | { kind: "failed"; error: ErrorRecord };
