// Files of several names, while a tree is walked: where each was seen first, until its last name was seen. Trees of
// links (rsnapshot's, say) have millions of them: beyond some thousands they lie in a private database on disk.
import { DatabaseSync, type StatementSync } from "node:sqlite";

const heldFiles = 100_000;

interface Seen {
  path: Buffer;
  /** Names that were not seen yet. */
  left: bigint;
}

export class LinkedFiles {
  readonly #maxHeld: number;
  readonly #held = new Map<bigint, Seen>();
  #stored: StoredFiles | null = null;

  constructor(maxHeld = heldFiles) {
    this.#maxHeld = maxHeld;
  }

  /** The path under which this inode was seen before; null: now, for the first time, as `path`. */
  firstName(inode: bigint, names: bigint, path: Buffer): Buffer | null {
    const held = this.#held.get(inode);
    if (held !== undefined) {
      if (--held.left === 0n) this.#held.delete(inode);
      return held.path;
    }
    const stored = this.#stored?.find(inode) ?? null;
    if (stored !== null) {
      stored.left--;
      this.#stored?.put(inode, stored);
      return stored.path;
    }
    const seen = { path, left: names - 1n };
    if (this.#held.size < this.#maxHeld) this.#held.set(inode, seen);
    else (this.#stored ??= new StoredFiles()).put(inode, seen);
    return null;
  }

  close(): void {
    this.#stored?.close();
  }
}

class StoredFiles {
  readonly #database = new DatabaseSync("");
  readonly #find: StatementSync;
  readonly #put: StatementSync;
  readonly #remove: StatementSync;

  constructor() {
    this.#database.exec(`
      PRAGMA journal_mode = OFF;
      CREATE TABLE files (inode INTEGER PRIMARY KEY, path BLOB NOT NULL, missing INTEGER NOT NULL)`);
    this.#find = this.#database.prepare("SELECT path, missing FROM files WHERE inode = ?");
    this.#put = this.#database.prepare("INSERT OR REPLACE INTO files VALUES (?, ?, ?)");
    this.#remove = this.#database.prepare("DELETE FROM files WHERE inode = ?");
  }

  find(inode: bigint): Seen | null {
    const row = this.#find.get(BigInt.asIntN(64, inode)) as { path: Uint8Array; missing: number } | undefined;
    return row === undefined ? null : { path: Buffer.from(row.path), left: BigInt(row.missing) };
  }

  put(inode: bigint, { path, left }: Seen): void {
    const key = BigInt.asIntN(64, inode);
    if (left === 0n) this.#remove.run(key);
    else this.#put.run(key, path, left);
  }

  close(): void {
    this.#database.close();
  }
}
