// Files of an archive that are made of what the engine said.
import type { ArchiveFile } from "../../shared/repository/archive-writer.ts";

export function bytesFile(path: string, content: Uint8Array, mode = 0o600, mtimeMs = 0): ArchiveFile {
  return { path, mode, mtimeMs, sizeBytes: content.length, content };
}

export function jsonFile(path: string, value: unknown): ArchiveFile {
  return bytesFile(path, Buffer.from(`${JSON.stringify(value, null, 2)}\n`, "utf8"));
}
