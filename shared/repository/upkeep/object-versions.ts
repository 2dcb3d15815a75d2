// Which versions the store keeps of each object, asked for by list, a prefix at a time and once: who may put can put something
// over any object, and then there are two. In a private database on disk, for there may be a million.
import { DatabaseSync } from "node:sqlite";
import type { ObjectKey, Store } from "../../store/store.ts";
import { tellsNoVersions } from "../former-versions.ts";

const batchRows = 5000;

export class ObjectVersions {
  readonly #store: Store;
  readonly #signal: AbortSignal;
  readonly #database = new DatabaseSync("");
  readonly #find;
  readonly #put;
  /** By prefix: whether the store tells. */
  readonly #listed = new Map<string, Promise<boolean>>();
  #rows = 0;

  constructor(store: Store, signal: AbortSignal) {
    this.#store = store;
    this.#signal = signal;
    this.#database.exec(`
      PRAGMA journal_mode = OFF;
      CREATE TABLE versions (key TEXT PRIMARY KEY, oldest TEXT NOT NULL, count INTEGER NOT NULL) WITHOUT ROWID;
      BEGIN`);
    this.#find = this.#database.prepare("SELECT oldest, count FROM versions WHERE key = ?");
    this.#put = this.#database.prepare(
      "INSERT INTO versions VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET oldest = excluded.oldest, count = count + 1",
    );
  }

  /** Null where the store keeps none, or tells nothing of them: then what is there now is all that is known. */
  async of(key: ObjectKey): Promise<{ oldest: string; isOnly: boolean } | null> {
    const prefix = listedWith(key);
    let listed = this.#listed.get(prefix);
    if (listed === undefined) {
      listed = this.#list(prefix);
      this.#listed.set(prefix, listed);
    }
    if (!(await listed)) return null;
    const found = this.#find.get(key) as { oldest: string; count: number } | undefined;
    return found === undefined ? null : { oldest: found.oldest, isOnly: found.count === 1 };
  }

  async #list(prefix: string): Promise<boolean> {
    try {
      // Those of one key from the newest to the oldest.
      for await (const { key, versionId } of this.#store.listVersions(prefix, this.#signal)) {
        this.#put.run(key, versionId);
        if (++this.#rows % batchRows === 0) this.#database.exec("COMMIT; BEGIN");
      }
      return true;
    } catch (error) {
      if (tellsNoVersions(error)) return false;
      throw error;
    }
  }

  close(): void {
    this.#database.close();
  }
}

/** All of one run, or all of one kind. */
function listedWith(key: ObjectKey): string {
  const [kind = "", run = ""] = key.split("/");
  return ["manifests", "refs", "archives"].includes(kind) ? `${kind}/${run}/` : `${kind}/`;
}
