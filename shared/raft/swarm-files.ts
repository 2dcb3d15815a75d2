// What the reader sees of a swarm directory: names in a folder and pieces of files. A live directory, a copy in the
// making and an opened archive all look like this; tests put faults in between.
import { constants } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";

import { SkepError } from "../errors.ts";
import { formatError } from "./wire.ts";

export interface SwarmFiles {
  /** Names (not paths) of the plain files in a folder given relative to the swarm directory; null if it is missing. */
  list(folder: string): Promise<string[] | null>;
  /** Null if the file is missing. The caller closes it. */
  open(path: string): Promise<SwarmFile | null>;
}

export interface SwarmFile {
  /** Up to `lengthBytes` bytes from `position`; fewer at the end of the file, none beyond it. */
  read(position: number, lengthBytes: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** The files below a directory of this host. Symlinks are not followed at the last step: the engine makes none. */
export function directoryFiles(directory: string): SwarmFiles {
  return {
    async list(folder) {
      try {
        const entries = await readdir(join(directory, folder), { withFileTypes: true });
        return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
      } catch (error) {
        if (isMissing(error)) return null;
        throw unreadable(folder, error);
      }
    },
    async open(path) {
      try {
        const handle = await open(join(directory, path), constants.O_RDONLY | constants.O_NOFOLLOW);
        return {
          async read(position, lengthBytes) {
            const buffer = Buffer.allocUnsafe(lengthBytes);
            let filled = 0;
            while (filled < lengthBytes) {
              const { bytesRead } = await handle
                .read(buffer, filled, lengthBytes - filled, position + filled)
                .catch((error: unknown) => Promise.reject(unreadable(path, error)));
              if (bytesRead === 0) break;
              filled += bytesRead;
            }
            // No Buffer: views of one are slower to make, and a log is read by millions of them.
            return new Uint8Array(buffer.buffer, buffer.byteOffset, filled);
          },
          close: () => handle.close(),
        };
      } catch (error) {
        if (isMissing(error)) return null;
        throw unreadable(path, error);
      }
    },
  };
}

/** Files held in memory, by path relative to the swarm directory. */
export function memoryFiles(files: ReadonlyMap<string, Uint8Array>): SwarmFiles {
  return {
    list(folder) {
      const names = [...files.keys()]
        .filter((path) => path.startsWith(`${folder}/`) && !path.slice(folder.length + 1).includes("/"))
        .map((path) => path.slice(folder.length + 1));
      return Promise.resolve(names.length === 0 ? null : names);
    },
    open(path) {
      const bytes = files.get(path);
      if (bytes === undefined) return Promise.resolve(null);
      return Promise.resolve({
        read: (position, lengthBytes) => Promise.resolve(bytes.subarray(position, position + lengthBytes)),
        close: () => Promise.resolve(),
      });
    },
  };
}

/**
 * The whole of a file, null if it is missing. Throws `tooLong`, SKEP_RAFT_FORMAT, where it is longer than `longestBytes`, so
 * that no file makes us hold more than that.
 */
export async function readWhole(
  files: SwarmFiles,
  path: string,
  longestBytes: number,
  tooLong = (): SkepError => formatError(`${path}: longer than ${longestBytes} bytes`),
): Promise<Uint8Array | null> {
  const file = await files.open(path);
  if (file === null) return null;
  try {
    const pieces: Uint8Array[] = [];
    let lengthBytes = 0;
    for (;;) {
      const piece = await file.read(lengthBytes, pieceBytes);
      lengthBytes += piece.length;
      if (lengthBytes > longestBytes) throw tooLong();
      pieces.push(piece);
      if (piece.length < pieceBytes) return pieces.length === 1 ? piece : Buffer.concat(pieces, lengthBytes);
    }
  } finally {
    await file.close();
  }
}

const pieceBytes = 256 * 1024;

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

function unreadable(path: string, cause: unknown): SkepError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new SkepError({
    code: "SKEP_RAFT_UNREADABLE",
    message: `cannot read ${path} of the swarm directory: ${reason}`,
    permanent: false,
    hint: "the agent must run as root and see the engine's data root",
    cause,
  });
}
