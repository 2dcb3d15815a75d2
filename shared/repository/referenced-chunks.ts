// The chunks that one snapshot needs, in temporary tables of the cache's database: a volume of ten terabytes has ten
// million of them. Gathered by name while the volume is read, placed once all packs are acknowledged, read by pack.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { PackedChunk, PackRef } from "./refs.ts";

/** Rows handled before other work gets its turn: some ms. */
const pageRows = 500;
let tablesMade = 0;

export class ReferencedChunks {
  readonly #database: DatabaseSync;
  readonly #names: string;
  readonly #placed: string;
  readonly #insertName: StatementSync;
  #held = new Map<string, Uint8Array>();

  constructor(database: DatabaseSync) {
    const number = ++tablesMade;
    this.#database = database;
    this.#names = `temp.referenced${number}`;
    this.#placed = `temp.placed${number}`;
    database.exec(`
      CREATE TABLE ${this.#names} (name BLOB PRIMARY KEY) WITHOUT ROWID;
      CREATE TABLE ${this.#placed} (
        pack INTEGER NOT NULL, start INTEGER NOT NULL, name BLOB NOT NULL, frame INTEGER NOT NULL,
        plain INTEGER NOT NULL, PRIMARY KEY (pack, start)) WITHOUT ROWID`);
    this.#insertName = database.prepare(`INSERT OR IGNORE INTO ${this.#names} VALUES (?)`);
  }

  /** `name`: 32 bytes, copied. */
  add(name: Buffer): void {
    const text = name.toString("latin1");
    if (this.#held.has(text)) return;
    this.#held.set(text, Uint8Array.from(name));
    if (this.#held.size >= pageRows) this.#writeHeld();
  }

  /** Looks up where each lies. The names that the cache does not know, at most ten of them. */
  async place(): Promise<string[]> {
    this.#writeHeld();
    const page = this.#database.prepare(
      `SELECT name FROM ${this.#names} WHERE name > ? ORDER BY name LIMIT ${pageRows}`,
    );
    const find = this.#database.prepare("SELECT pack, start, frame, plain FROM chunks WHERE name = ?");
    const insert = this.#database.prepare(`INSERT OR IGNORE INTO ${this.#placed} VALUES (?, ?, ?, ?, ?)`);
    const missing: string[] = [];
    let after: Uint8Array = new Uint8Array(0);
    for (;;) {
      const rows = page.all(after) as { name: Uint8Array }[];
      const last = rows.at(-1);
      if (last === undefined) return missing;
      this.#inTransaction(() => {
        for (const { name } of rows) {
          const row = find.get(name) as { pack: number; start: number; frame: number; plain: number } | undefined;
          if (row !== undefined) insert.run(row.pack, row.start, name, row.frame, row.plain);
          else if (missing.length < 10) missing.push(Buffer.from(name).toString("hex"));
        }
      });
      after = last.name;
      await nextTurn();
    }
  }

  /** One for each pack, in the order they were made, with the chunks that are needed; after place(). */
  async *packRefs(): AsyncGenerator<PackRef> {
    const page = this.#database.prepare(
      `SELECT pack, start, name, frame, plain FROM ${this.#placed}
       WHERE (pack, start) > (?, ?) ORDER BY pack, start LIMIT ${pageRows}`,
    );
    const findPack = this.#database.prepare("SELECT name, size, header, epoch FROM packs WHERE id = ?");
    let ref: PackRef | null = null;
    let id = -1;
    let start = -1;
    for (;;) {
      const rows = page.all(id, start) as {
        pack: number;
        start: number;
        name: Uint8Array;
        frame: number;
        plain: number;
      }[];
      for (const row of rows) {
        if (ref === null || row.pack !== id) {
          if (ref !== null) yield ref;
          const pack = findPack.get(row.pack) as { name: Uint8Array; size: number; header: number; epoch: number };
          const name = Buffer.from(pack.name).toString("hex");
          ref = { pack: name, sizeBytes: pack.size, headerBytes: pack.header, epoch: pack.epoch, chunks: [] };
        }
        const chunk: PackedChunk = [Buffer.from(row.name).toString("hex"), row.start, row.frame, row.plain];
        ref.chunks.push(chunk);
        id = row.pack;
        start = row.start;
      }
      if (rows.length < pageRows) break;
      await nextTurn();
    }
    if (ref !== null) yield ref;
  }

  close(): void {
    this.#database.exec(`DROP TABLE ${this.#names}; DROP TABLE ${this.#placed}`);
  }

  #writeHeld(): void {
    this.#inTransaction(() => {
      for (const name of this.#held.values()) this.#insertName.run(name);
    });
    this.#held = new Map();
  }

  #inTransaction(act: () => void): void {
    this.#database.exec("BEGIN");
    try {
      act();
      this.#database.exec("COMMIT");
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }
}
