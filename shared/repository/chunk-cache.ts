// What one writer remembers between snapshots, in a SQLite file of its own: which chunks are stored and where, and
// which extents a file had when it was last read. All of it can be lost: the chunks come back from the writer's index
// objects, the files are read again. It is thrown away where it belongs to another repository, writer or incarnation,
// or is damaged.
//
// A chunk gets in only after its pack and its index object are acknowledged. The log of the database (WAL) is moved
// into it by pack workers, so that this thread never waits for the disk.
import { rmSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { ReferencedChunks } from "./referenced-chunks.ts";
import type { PackRef } from "./refs.ts";

/** Raised when the tables change; a cache of another version is thrown away. */
const cacheFormat = "1";

const tables = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  PRAGMA wal_autocheckpoint = 0;
  PRAGMA temp_store = FILE;
  CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS indexes (id INTEGER PRIMARY KEY, object TEXT NOT NULL UNIQUE);
  CREATE TABLE IF NOT EXISTS packs (
    id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, header INTEGER NOT NULL,
    epoch INTEGER NOT NULL, indexId INTEGER NOT NULL);
  CREATE INDEX IF NOT EXISTS packsByIndex ON packs (indexId);
  CREATE TABLE IF NOT EXISTS chunks (
    name BLOB PRIMARY KEY, pack INTEGER NOT NULL, start INTEGER NOT NULL, frame INTEGER NOT NULL, plain INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS chunksByPack ON chunks (pack);
  CREATE TABLE IF NOT EXISTS contents (digest BLOB PRIMARY KEY, extents BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS volumes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, identity TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS files (
    volume INTEGER NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
    inode INTEGER NOT NULL, extents BLOB NOT NULL, PRIMARY KEY (volume, path)) WITHOUT ROWID;
`;

export interface CacheBinding {
  repositoryId: string;
  writerId: string;
  incarnation: number;
}

export interface CachedFile {
  /** Sort key: the path's bytes with NUL for each slash. */
  path: Uint8Array;
  sizeBytes: number;
  mtimeNs: bigint;
  ctimeNs: bigint;
  inode: bigint;
  /** ExtentList records. */
  extents: Uint8Array;
}

export interface FileToRemember extends CachedFile {
  contentDigest: Uint8Array | null;
}

export class ChunkCache {
  /** Null: in memory only, since the file could not be used; `problem` says why. */
  readonly path: string | null;
  readonly problem: string | null;
  readonly binding: CacheBinding;
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  private constructor(database: DatabaseSync, path: string | null, problem: string | null, binding: CacheBinding) {
    this.#database = database;
    this.path = path;
    this.problem = problem;
    this.binding = binding;
  }

  /** Never throws for what the file holds, or for a full disk: then it is made anew, or kept in memory for this time. */
  static open(file: string, binding: CacheBinding): ChunkCache {
    let problem = "";
    for (let attempt = 0; attempt < 2; attempt++) {
      let database: DatabaseSync | null = null;
      try {
        database = new DatabaseSync(file, { timeout: 10_000 });
        database.exec(tables);
        proveRoom(database);
        if (fits(database, binding)) return new ChunkCache(database, file, null, binding);
        problem = "it belongs to another repository, writer or incarnation";
      } catch (error) {
        problem = error instanceof Error ? error.message : String(error);
      }
      database?.close();
      try {
        for (const suffix of ["", "-wal", "-shm"]) rmSync(`${file}${suffix}`, { force: true });
      } catch (error) {
        problem = error instanceof Error ? error.message : String(error);
        break;
      }
    }
    const database = new DatabaseSync(":memory:");
    database.exec(tables);
    database.exec("PRAGMA temp_store = MEMORY");
    fits(database, binding);
    return new ChunkCache(database, null, `the chunk cache ${file} cannot be used: ${problem}`, binding);
  }

  close(): void {
    this.#database.close();
  }

  /** All or nothing; for at most some thousand rows, which take some ms. Throws what SQLite throws, e.g. on a full disk. */
  transaction(act: () => void): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      act();
      this.#database.exec("COMMIT");
    } catch (error) {
      // A full disk may have ended it already.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  /** The run for which the cache was compared with the store last; null: never. */
  get checkedFor(): string | null {
    const row = this.#get("SELECT value FROM meta WHERE key = 'checkedFor'");
    return row === undefined ? null : (row["value"] as string);
  }

  markChecked(runId: string): void {
    this.#run("INSERT OR REPLACE INTO meta VALUES ('checkedFor', ?)", runId);
  }

  indexObjects(): string[] {
    return this.#all("SELECT object FROM indexes").map((row) => row["object"] as string);
  }

  /** Packs of one index object, acknowledged like it. */
  addIndex(object: string, packs: readonly PackRef[]): void {
    this.transaction(() => {
      this.#run("INSERT OR IGNORE INTO indexes (object) VALUES (?)", object);
      const { id } = this.#get("SELECT id FROM indexes WHERE object = ?", object) as { id: number };
      for (const { pack, sizeBytes, headerBytes, epoch, chunks } of packs) {
        const name = Buffer.from(pack, "hex");
        this.#run(
          // A prune may have put them into another index object, and removed the one before.
          `INSERT INTO packs (name, size, header, epoch, indexId) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET indexId = excluded.indexId`,
          name,
          sizeBytes,
          headerBytes,
          epoch,
          id,
        );
        const row = this.#get("SELECT id FROM packs WHERE name = ?", name) as { id: number };
        for (const [chunk, start, frame, plain] of chunks) {
          const values = [Buffer.from(chunk, "hex"), row.id, start, frame, plain] as const;
          this.#run("INSERT OR IGNORE INTO chunks VALUES (?, ?, ?, ?, ?)", ...values);
        }
      }
    });
  }

  /** The packs that it names and their chunks are unknown again. */
  forgetIndex(object: string): void {
    this.transaction(() => {
      this.#run(
        `DELETE FROM chunks WHERE pack IN
           (SELECT packs.id FROM packs JOIN indexes ON packs.indexId = indexes.id WHERE indexes.object = ?)`,
        object,
      );
      this.#run("DELETE FROM packs WHERE indexId IN (SELECT id FROM indexes WHERE object = ?)", object);
      this.#run("DELETE FROM indexes WHERE object = ?", object);
    });
  }

  packs(): { pack: string; sizeBytes: number }[] {
    return this.#all("SELECT name, size FROM packs").map((row) => ({
      pack: Buffer.from(row["name"] as Uint8Array).toString("hex"),
      sizeBytes: row["size"] as number,
    }));
  }

  forgetPack(pack: string): void {
    this.transaction(() => {
      const name = Buffer.from(pack, "hex");
      this.#run("DELETE FROM chunks WHERE pack = (SELECT id FROM packs WHERE name = ?)", name);
      this.#run("DELETE FROM packs WHERE name = ?", name);
    });
  }

  hasChunk(name: Uint8Array): boolean {
    return this.#get("SELECT 1 FROM chunks WHERE name = ?", name) !== undefined;
  }

  /** A number for the volume. Where `identity` is not what it was, its files are forgotten. */
  openVolume(name: string, identity: string): number {
    const row = this.#get("SELECT id, identity FROM volumes WHERE name = ?", name);
    if (row !== undefined && row["identity"] === identity) return row["id"] as number;
    this.transaction(() => {
      if (row !== undefined) {
        this.#run("DELETE FROM files WHERE volume = ?", row["id"] as number);
        this.#run("DELETE FROM volumes WHERE id = ?", row["id"] as number);
      }
      this.#run("INSERT INTO volumes (name, identity) VALUES (?, ?)", name, identity);
    });
    return (this.#get("SELECT id FROM volumes WHERE name = ?", name) as { id: number }).id;
  }

  /** The next files after `path` in the order of their sort keys. */
  filesAfter(volume: number, path: Uint8Array | null, limit: number): CachedFile[] {
    const sql = `SELECT path, size, mtime, ctime, inode, extents FROM files
      WHERE volume = ? AND path ${path === null ? ">=" : ">"} ? ORDER BY path LIMIT ?`;
    const statement = this.#prepare(sql);
    statement.setReadBigInts(true);
    return statement.all(volume, path ?? new Uint8Array(0), limit).map((row) => ({
      path: row["path"] as Uint8Array,
      sizeBytes: Number(row["size"]),
      mtimeNs: row["mtime"] as bigint,
      ctimeNs: row["ctime"] as bigint,
      inode: BigInt.asUintN(64, row["inode"] as bigint),
      extents: row["extents"] as Uint8Array,
    }));
  }

  /** In one transaction: keep it to some thousand rows. */
  updateFiles(volume: number, remembered: readonly FileToRemember[], forgotten: readonly Uint8Array[]): void {
    this.transaction(() => {
      for (const path of forgotten) this.#run("DELETE FROM files WHERE volume = ? AND path = ?", volume, path);
      for (const file of remembered) {
        this.#run(
          "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
          volume,
          file.path,
          file.sizeBytes,
          file.mtimeNs,
          file.ctimeNs,
          BigInt.asIntN(64, file.inode),
          file.extents,
        );
        if (file.contentDigest !== null) {
          this.#run("INSERT OR REPLACE INTO contents VALUES (?, ?)", file.contentDigest, file.extents);
        }
      }
    });
  }

  /** A set of chunk names of its own, for one snapshot; to be closed. */
  openReferences(): ReferencedChunks {
    return new ReferencedChunks(this.#database);
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #run(sql: string, ...values: (string | number | bigint | Uint8Array)[]): void {
    this.#prepare(sql).run(...values);
  }

  #get(sql: string, ...values: (string | number | Uint8Array)[]): Record<string, unknown> | undefined {
    return this.#prepare(sql).get(...values);
  }

  #all(sql: string, ...values: (string | number)[]): Record<string, unknown>[] {
    return this.#prepare(sql).all(...values);
  }
}

/** A full disk shows now, not in the middle of a snapshot. */
function proveRoom(database: DatabaseSync): void {
  const sql = "INSERT OR REPLACE INTO meta VALUES ('room', hex(zeroblob(524288)))";
  database.exec(`BEGIN IMMEDIATE; ${sql}; DELETE FROM meta WHERE key = 'room'; COMMIT`);
}

/** Marks a new cache as this writer's; false for one that is another's. */
function fits(database: DatabaseSync, { repositoryId, writerId, incarnation }: CacheBinding): boolean {
  const binding = JSON.stringify([cacheFormat, repositoryId, writerId, incarnation]);
  const row = database.prepare("SELECT value FROM meta WHERE key = 'binding'").get();
  if (row !== undefined) return row["value"] === binding;
  database.prepare("INSERT INTO meta VALUES ('binding', ?)").run(binding);
  return true;
}
