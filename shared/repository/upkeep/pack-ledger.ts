// Which packs there are, which of their chunks the kept runs need, and whose they are: in a private database on disk
// (SQLite deletes it when it is closed), for a repository of ten terabytes has a million packs and ten million chunks.
import { createHash } from "node:crypto";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { decodePackLine, type PackRef } from "../refs.ts";

/** Rows in one transaction. */
const batchRows = 5000;

export interface LedgerPack {
  pack: string;
  /** As listed; null: it is not in the store. */
  sizeBytes: number | null;
  /** ms since 1970, by the store's clock; 0 where it is not there. */
  storedAtMs: number;
  isNeeded: boolean;
  /** Of the frames that kept runs need. */
  liveBytes: number;
  /** "": no index and no refs name it. */
  writerId: string;
}

export class PackLedger {
  readonly #database = new DatabaseSync("");
  readonly #statements = new Map<string, StatementSync>();
  #rows = 0;

  constructor() {
    this.#database.exec(`
      PRAGMA journal_mode = OFF;
      CREATE TABLE packs (
        id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, size INTEGER, storedAt INTEGER NOT NULL DEFAULT 0,
        needed INTEGER NOT NULL DEFAULT 0, writer TEXT NOT NULL DEFAULT '');
      CREATE TABLE live (pack INTEGER NOT NULL, start INTEGER NOT NULL, frame INTEGER NOT NULL, PRIMARY KEY (pack, start))
        WITHOUT ROWID;
      CREATE TABLE lines (digest BLOB PRIMARY KEY) WITHOUT ROWID;
      CREATE TABLE objects (key TEXT PRIMARY KEY) WITHOUT ROWID;
      BEGIN`);
  }

  addListed(pack: string, sizeBytes: number, storedAtMs: number): void {
    this.#run(
      `INSERT INTO packs (name, size, storedAt) VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET size = excluded.size, storedAt = excluded.storedAt`,
      Buffer.from(pack, "hex"),
      sizeBytes,
      storedAtMs,
    );
  }

  /**
   * A line of a kept run's refs. Null where the same line was added before, else what it says. Throws
   * SKEP_REFS_INVALID.
   */
  addNeeded(writerId: string, line: string, place: string): PackRef | null {
    const digest = createHash("sha256").update(`${writerId}\n${line}`).digest().subarray(0, 16);
    if (this.#get("SELECT 1 FROM lines WHERE digest = ?", digest) !== undefined) return null;
    const ref = decodePackLine(line, place);
    const id = this.#idOf(ref.pack, writerId, 1);
    for (const [, start, frame] of ref.chunks) {
      this.#run("INSERT OR IGNORE INTO live VALUES (?, ?, ?)", id, start, frame);
    }
    this.#run("INSERT INTO lines VALUES (?)", digest);
    return ref;
  }

  /** That this writer's index names the pack. */
  addIndexed(writerId: string, pack: string): void {
    this.#idOf(pack, writerId, 0);
  }

  /** An object that a kept run names. */
  addObject(key: string): void {
    this.#run("INSERT OR IGNORE INTO objects VALUES (?)", key);
  }

  isNamed(key: string): boolean {
    return this.#get("SELECT 1 FROM objects WHERE key = ?", key) !== undefined;
  }

  /** Null where nobody named it. */
  find(pack: string): LedgerPack | null {
    const row = this.#get("SELECT * FROM packs WHERE name = ?", Buffer.from(pack, "hex"));
    return row === undefined ? null : this.#toPack(row);
  }

  /** In the order of their names. */
  *packs(): Generator<LedgerPack> {
    const page = this.#prepare("SELECT * FROM packs WHERE name > ? ORDER BY name LIMIT 1000");
    let after: Uint8Array = new Uint8Array(0);
    for (;;) {
      const rows = page.all(after);
      for (const row of rows) yield this.#toPack(row);
      const last = rows.at(-1);
      if (last === undefined) return;
      after = last["name"] as Uint8Array;
    }
  }

  close(): void {
    this.#database.close();
  }

  #idOf(pack: string, writerId: string, needed: 0 | 1): number {
    const row = this.#get(
      `INSERT INTO packs (name, writer, needed) VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET needed = max(needed, excluded.needed),
         writer = CASE writer WHEN '' THEN excluded.writer ELSE writer END
       RETURNING id`,
      Buffer.from(pack, "hex"),
      writerId,
      needed,
    );
    this.#count();
    return row?.["id"] as number;
  }

  #toPack(row: Record<string, unknown>): LedgerPack {
    const live = this.#get("SELECT coalesce(sum(frame), 0) AS bytes FROM live WHERE pack = ?", row["id"] as number);
    return {
      pack: Buffer.from(row["name"] as Uint8Array).toString("hex"),
      sizeBytes: row["size"] as number | null,
      storedAtMs: row["storedAt"] as number,
      isNeeded: row["needed"] === 1,
      liveBytes: live?.["bytes"] as number,
      writerId: row["writer"] as string,
    };
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #run(sql: string, ...values: (string | number | Uint8Array)[]): void {
    this.#prepare(sql).run(...values);
    this.#count();
  }

  #get(sql: string, ...values: (string | number | Uint8Array)[]): Record<string, unknown> | undefined {
    return this.#prepare(sql).get(...values);
  }

  #count(): void {
    if (++this.#rows % batchRows === 0) this.#database.exec("COMMIT; BEGIN");
  }
}
