// Which packs there are, which of their chunks the kept runs need, and whose they are: in a private database on disk
// (SQLite deletes it when it is closed), for a repository of ten terabytes has a million packs and ten million chunks.
import { createHash } from "node:crypto";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { decodePackLine, type PackedChunk, type PackRef } from "../refs.ts";

/** Rows in one transaction. */
const batchRows = 5000;

export interface LedgerPack {
  pack: string;
  /** As listed; null: it is not in the store. */
  sizeBytes: number | null;
  /** ms since 1970, by the store's clock; 0 where it is not there. */
  storedAtMs: number;
  isNeeded: boolean;
  /** The size that refs name; null where none do. Of several, one that is not the listed one. */
  neededSizeBytes: number | null;
  /** Whose identity opens it, by the refs; 0 where none name it. */
  epoch: number;
  /** Of the frames that kept runs need. */
  liveBytes: number;
  /** "": no index and no refs name it. */
  writerId: string;
}

export interface NeededChunk {
  /** In the pack's plaintext. */
  start: number;
  frameBytes: number;
  /** First 16 digits of its name. */
  nameStart: string;
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
        needed INTEGER NOT NULL DEFAULT 0, neededSize INTEGER, epoch INTEGER NOT NULL DEFAULT 0,
        writer TEXT NOT NULL DEFAULT '');
      CREATE TABLE live (
        pack INTEGER NOT NULL, start INTEGER NOT NULL, frame INTEGER NOT NULL, name BLOB NOT NULL,
        PRIMARY KEY (pack, start)) WITHOUT ROWID;
      CREATE TABLE indexed (pack INTEGER NOT NULL, start INTEGER NOT NULL, chunk BLOB NOT NULL, PRIMARY KEY (pack, start))
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
    this.#run(
      `UPDATE packs SET neededSize = CASE WHEN neededSize IS NULL OR neededSize = size THEN ? ELSE neededSize END,
         epoch = ? WHERE id = ?`,
      ref.sizeBytes,
      ref.epoch,
      id,
    );
    for (const [name, start, frame] of ref.chunks) {
      this.#run("INSERT OR IGNORE INTO live VALUES (?, ?, ?, ?)", id, start, frame, nameStart(name));
    }
    this.#run("INSERT INTO lines VALUES (?)", digest);
    return ref;
  }

  /** That this writer's index names the pack, and these chunks in it where refs are to be compared. */
  addIndexed(writerId: string, pack: string, chunks: readonly PackedChunk[] = []): void {
    const id = this.#idOf(pack, writerId, 0);
    for (const chunk of chunks) {
      this.#run("INSERT OR IGNORE INTO indexed VALUES (?, ?, ?)", id, chunk[1], markOf(chunk));
    }
  }

  /** The first chunk that its writer's index has otherwise; null where none, or where the index does not know the pack. */
  findUnlikeIndex({ pack, chunks }: PackRef): string | null {
    const row = this.#get("SELECT id FROM packs WHERE name = ?", Buffer.from(pack, "hex"));
    const id = row?.["id"] as number;
    if (this.#get("SELECT 1 FROM indexed WHERE pack = ? LIMIT 1", id) === undefined) return null;
    for (const chunk of chunks) {
      const found = this.#get("SELECT chunk FROM indexed WHERE pack = ? AND start = ?", id, chunk[1]);
      if (found === undefined || !markOf(chunk).equals(found["chunk"] as Uint8Array)) return chunk[0];
    }
    return null;
  }

  /** In the order of their places. */
  *neededChunks(pack: string): Generator<NeededChunk> {
    const rows = this.#prepare(
      "SELECT start, frame, name FROM live WHERE pack = (SELECT id FROM packs WHERE name = ?) ORDER BY start",
    ).all(Buffer.from(pack, "hex"));
    for (const row of rows) {
      const name = Buffer.from(row["name"] as Uint8Array).toString("hex");
      yield { start: row["start"] as number, frameBytes: row["frame"] as number, nameStart: name };
    }
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
      neededSizeBytes: row["neededSize"] as number | null,
      epoch: row["epoch"] as number,
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

/** 8 bytes: enough to tell a pack's chunks apart. */
function nameStart(name: string): Buffer {
  return Buffer.from(name.slice(0, 16), "hex");
}

/** 16 bytes that say what a chunk is, and how long. */
function markOf([name, , frameBytes, plainBytes]: PackedChunk): Buffer {
  const mark = Buffer.alloc(16);
  nameStart(name).copy(mark);
  mark.writeUInt32LE(frameBytes, 8);
  mark.writeUInt32LE(plainBytes, 12);
  return mark;
}
