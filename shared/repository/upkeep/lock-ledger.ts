// How long each object is locked, as one pass over the locks found it: runs share most of their packs, and each is asked
// for once. In a private database on disk, for there may be a million.
import { DatabaseSync } from "node:sqlite";
import type { SkepError } from "../../errors.ts";

const batchRows = 5000;

export class LockLedger {
  readonly #database = new DatabaseSync("");
  readonly #find;
  readonly #put;
  readonly #faults = new Map<string, SkepError>();
  #rows = 0;

  constructor() {
    this.#database.exec(`
      PRAGMA journal_mode = OFF;
      CREATE TABLE locks (key TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
      BEGIN`);
    this.#find = this.#database.prepare("SELECT until FROM locks WHERE key = ?");
    this.#put = this.#database.prepare("INSERT OR REPLACE INTO locks VALUES (?, ?)");
  }

  /** ms since 1970, or why it is not locked; null: it was not looked at. */
  find(key: string): number | SkepError | null {
    return this.#faults.get(key) ?? (this.#find.get(key)?.["until"] as number | undefined) ?? null;
  }

  add(key: string, found: number | SkepError): void {
    if (typeof found !== "number") this.#faults.set(key, found);
    else this.#put.run(key, found);
    if (++this.#rows % batchRows === 0) this.#database.exec("COMMIT; BEGIN");
  }

  close(): void {
    this.#database.close();
  }
}
