// Where the chunks of one snapshot lie, out of its refs: in a private database on disk (SQLite deletes it when it is
// closed), for a volume of ten terabytes has ten million.
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { setImmediate as nextTurn } from "node:timers/promises";
import { SkepError } from "../../errors.ts";
import type { RestoreKeys } from "../../contract/job.ts";
import type { PackRef } from "../refs.ts";
import type { PackToRead } from "./pack-reader.ts";
import type { FrameToRead } from "./sealed-window.ts";

export interface ChunkPlace extends FrameToRead {
  /** Number of its pack here. */
  pack: number;
}

/** File keys of packs, base64; or what finds one once it is needed. */
export type PackKeys = RestoreKeys["packs"] | ((pack: Omit<PackRef, "chunks">) => Promise<Uint8Array>);

interface Row {
  name: Uint8Array;
  pack: number;
  start: number;
  frame: number;
  plain: number;
}

export class ChunkPlaces {
  readonly #database = new DatabaseSync("");
  readonly packs: PackToRead[] = [];
  readonly #byName: StatementSync;
  readonly #following: StatementSync;
  readonly #insert: StatementSync;

  constructor() {
    this.#database.exec(`
      PRAGMA journal_mode = OFF;
      CREATE TABLE chunks (
        name BLOB PRIMARY KEY, pack INTEGER NOT NULL, start INTEGER NOT NULL, frame INTEGER NOT NULL,
        plain INTEGER NOT NULL) WITHOUT ROWID;
      CREATE INDEX byPlace ON chunks (pack, start)`);
    this.#insert = this.#database.prepare("INSERT OR IGNORE INTO chunks VALUES (?, ?, ?, ?, ?)");
    this.#byName = this.#database.prepare("SELECT * FROM chunks WHERE name = ?");
    this.#following = this.#database.prepare(
      "SELECT * FROM chunks WHERE pack = ? AND start > ? ORDER BY start LIMIT ?",
    );
  }

  /** Throws SKEP_RESTORE_KEYS_INCOMPLETE where a pack has no file key; `place` names the refs. */
  async load(refs: AsyncIterable<PackRef>, keys: PackKeys, place: string): Promise<void> {
    let turnStartedAt = performance.now();
    for await (const { chunks, ...ref } of refs) {
      const { pack, sizeBytes, headerBytes } = ref;
      const number = this.packs.push({ pack, sizeBytes, headerBytes, fileKey: keyFinder(keys, ref, place) }) - 1;
      this.#database.exec("BEGIN");
      for (const [name, start, frame, plain] of chunks) {
        this.#insert.run(Buffer.from(name, "hex"), number, start, frame, plain);
      }
      this.#database.exec("COMMIT");
      if (performance.now() - turnStartedAt < 8) continue;
      await nextTurn();
      turnStartedAt = performance.now();
    }
  }

  find(name: string): ChunkPlace | null {
    const row = this.#byName.get(Buffer.from(name, "hex"));
    return row === undefined ? null : toPlace(row as unknown as Row);
  }

  /** Those that the snapshot needs after this one in its pack, in order. */
  following({ pack, start }: ChunkPlace, limit: number): ChunkPlace[] {
    return this.#following.all(pack, start, limit).map((row) => toPlace(row as unknown as Row));
  }

  close(): void {
    this.#database.close();
  }
}

function keyFinder(keys: PackKeys, ref: Omit<PackRef, "chunks">, place: string): PackToRead["fileKey"] {
  if (typeof keys === "function") return () => keys(ref);
  const fileKey = keys[ref.pack];
  if (fileKey !== undefined) return () => Promise.resolve(Buffer.from(fileKey, "base64"));
  throw new SkepError({
    code: "SKEP_RESTORE_KEYS_INCOMPLETE",
    message: `there is no key for pack ${ref.pack}, which ${place} names`,
    permanent: true,
    hint: "order the restore anew: its keys were collected for other refs",
  });
}

function toPlace({ name, pack, start, frame, plain }: Row): ChunkPlace {
  return { name: Buffer.from(name).toString("hex"), pack, start, frameBytes: frame, plainBytes: plain };
}
