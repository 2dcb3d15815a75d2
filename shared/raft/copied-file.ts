// The files of a copy in the making: small and secret ones in memory, log and snapshot in the staging directory.
import { open } from "node:fs/promises";
import { basename, join } from "node:path";

import { directoryFiles, memoryFiles, type SwarmFile, type SwarmFiles } from "./swarm-files.ts";

export interface CopiedFile {
  /** Relative to the swarm directory. */
  path: string;
  /** Permission bits with which a restore lays it down. */
  mode: number;
  sizeBytes: number;
  /** For reading at places; the caller closes it. */
  open(): Promise<SwarmFile>;
  /** The whole content, in pieces, once per call. */
  content(): AsyncIterable<Uint8Array>;
}

/** A file kept in memory, which never touches the staging directory. */
export function heldFile(path: string, mode: number, bytes: Uint8Array): CopiedFile {
  return copiedFile(path, mode, bytes.length, memoryFiles(new Map([[path, bytes]])), path);
}

export interface StagedWriter {
  write(bytes: Uint8Array): Promise<void>;
  /** Closes the file; it is then part of the copy. */
  finish(): Promise<CopiedFile>;
  /** Closes it after a failure; what was written stays for the caller to remove. */
  abandon(): Promise<void>;
}

/** A file in the staging directory, named as the last part of its path. */
export async function stageFile(staging: string, path: string): Promise<StagedWriter> {
  const name = basename(path);
  const handle = await open(join(staging, name), "wx", 0o600);
  let sizeBytes = 0;
  return {
    async write(bytes) {
      await handle.writeFile(bytes);
      sizeBytes += bytes.length;
    },
    async finish() {
      await handle.close();
      return copiedFile(path, 0o600, sizeBytes, directoryFiles(staging), name);
    },
    abandon: () => handle.close(),
  };
}

/** The copy as the reader sees directories. */
export function copiedFiles(files: readonly CopiedFile[]): SwarmFiles {
  return {
    list(folder) {
      const names = files
        .map(({ path }) => path)
        .filter((path) => path.startsWith(`${folder}/`))
        .map((path) => path.slice(folder.length + 1));
      return Promise.resolve(names.length === 0 ? null : names);
    },
    open: async (path) => (await files.find((file) => file.path === path)?.open()) ?? null,
  };
}

const pieceBytes = 256 * 1024;

function copiedFile(path: string, mode: number, sizeBytes: number, files: SwarmFiles, at: string): CopiedFile {
  const openHere = async (): Promise<SwarmFile> => {
    const file = await files.open(at);
    if (file === null) throw new Error(`${path} of the copy is gone`);
    return file;
  };
  return {
    path,
    mode,
    sizeBytes,
    open: openHere,
    async *content() {
      const file = await openHere();
      try {
        for (let position = 0; position < sizeBytes;) {
          const piece = await file.read(position, Math.min(pieceBytes, sizeBytes - position));
          if (piece.length === 0) throw new Error(`${path} of the copy became shorter`);
          position += piece.length;
          yield piece;
        }
      } finally {
        await file.close();
      }
    },
  };
}
