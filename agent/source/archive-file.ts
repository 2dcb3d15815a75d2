// A file of a swarm archive, as the archive's writer takes it.

export interface ArchiveFile {
  /** Relative, `/` between segments. */
  path: string;
  mode: number;
  /** ms since 1970. */
  mtimeMs: number;
  sizeBytes: number;
  content: Uint8Array;
}

export function bytesFile(path: string, content: Uint8Array, mode = 0o600, mtimeMs = 0): ArchiveFile {
  return { path, mode, mtimeMs, sizeBytes: content.length, content };
}

export function jsonFile(path: string, value: unknown): ArchiveFile {
  return bytesFile(path, Buffer.from(`${JSON.stringify(value, null, 2)}\n`, "utf8"));
}
