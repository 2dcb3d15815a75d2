// Where a compaction put each chunk: in a private database on disk, for there may be millions.
import { DatabaseSync } from "node:sqlite";
import type { PackRef } from "../refs.ts";

const batchRows = 5000;

export class MoveBook {
  readonly #database = new DatabaseSync("");
  readonly #putPack;
  readonly #putChunk;
  readonly #want;
  readonly #wanted;
  #rows = 0;

  constructor() {
    this.#database.exec(`
      PRAGMA journal_mode = OFF;
      CREATE TABLE packs (id INTEGER PRIMARY KEY, name TEXT NOT NULL, size INTEGER NOT NULL, header INTEGER NOT NULL,
        epoch INTEGER NOT NULL);
      CREATE TABLE chunks (id INTEGER PRIMARY KEY, writer TEXT NOT NULL, name BLOB NOT NULL, pack INTEGER NOT NULL,
        start INTEGER NOT NULL, frame INTEGER NOT NULL, plain INTEGER NOT NULL, UNIQUE (writer, name));
      CREATE TABLE wanted (chunk INTEGER PRIMARY KEY);
      BEGIN`);
    this.#putPack = this.#database.prepare("INSERT INTO packs VALUES (NULL, ?, ?, ?, ?)");
    this.#putChunk = this.#database.prepare("INSERT OR IGNORE INTO chunks VALUES (NULL, ?, ?, ?, ?, ?, ?)");
    this.#want = this.#database.prepare(
      "INSERT OR IGNORE INTO wanted SELECT id FROM chunks WHERE writer = ? AND name = ? RETURNING chunk",
    );
    this.#wanted = this.#database.prepare(`
      SELECT packs.name AS pack, size, header, epoch, chunks.name, start, frame, plain
      FROM wanted JOIN chunks ON chunks.id = wanted.chunk JOIN packs ON packs.id = chunks.pack
      ORDER BY packs.id, start`);
  }

  add(writerId: string, { pack, sizeBytes, headerBytes, epoch, chunks }: PackRef): void {
    const id = this.#putPack.run(pack, sizeBytes, headerBytes, epoch).lastInsertRowid;
    for (const [name, start, frame, plain] of chunks) {
      this.#putChunk.run(writerId, Buffer.from(name, "hex"), id, start, frame, plain);
      this.#count();
    }
  }

  /** For the next `takeWanted`. False where that chunk was not moved. */
  want(writerId: string, name: string): boolean {
    this.#count();
    return this.#want.get(writerId, Buffer.from(name, "hex")) !== undefined;
  }

  /** Lines of the packs that hold what was wanted since the last time, each chunk once. */
  *takeWanted(): Generator<PackRef> {
    let line = null as PackRef | null;
    for (const row of this.#wanted.iterate()) {
      const pack = row["pack"] as string;
      if (line?.pack !== pack) {
        if (line !== null) yield line;
        const [sizeBytes, headerBytes] = [row["size"] as number, row["header"] as number];
        line = { pack, sizeBytes, headerBytes, epoch: row["epoch"] as number, chunks: [] };
      }
      const name = Buffer.from(row["name"] as Uint8Array).toString("hex");
      line.chunks.push([name, row["start"] as number, row["frame"] as number, row["plain"] as number]);
    }
    if (line !== null) yield line;
    this.#database.exec("DELETE FROM wanted");
  }

  close(): void {
    this.#database.close();
  }

  #count(): void {
    if (++this.#rows % batchRows === 0) this.#database.exec("COMMIT; BEGIN");
  }
}
