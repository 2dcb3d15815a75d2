// The cache as a pack worker sees it: its own connection, for reading.
import { DatabaseSync, type StatementSync } from "node:sqlite";

export class KnownChunks {
  readonly #database: DatabaseSync;
  readonly #chunk: StatementSync;
  readonly #content: StatementSync;

  constructor(path: string) {
    this.#database = new DatabaseSync(path, { timeout: 10_000 });
    this.#chunk = this.#database.prepare("SELECT 1 FROM chunks WHERE name = ?");
    this.#content = this.#database.prepare("SELECT extents FROM contents WHERE digest = ?");
  }

  has(name: Uint8Array): boolean {
    return this.#chunk.get(name) !== undefined;
  }

  /** Extent records of a small file's content; null where it is not known. Its chunks may be gone. */
  extentsOf(contentDigest: Uint8Array): Uint8Array | null {
    const row = this.#content.get(contentDigest);
    return row === undefined ? null : (row["extents"] as Uint8Array);
  }

  /** Passive: keeps nobody waiting who writes. */
  checkpoint(): void {
    this.#database.exec("PRAGMA wal_checkpoint(PASSIVE)");
  }

  close(): void {
    this.#database.close();
  }
}
