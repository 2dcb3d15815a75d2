// The names in one folder, in the order of their bytes: sorted in memory, or where there are very many in a private
// database on disk (SQLite deletes it when it is closed), so that a folder of ten million files takes no more memory
// than one of a hundred thousand.
import { opendirSync, type Dir } from "node:fs";
import { DatabaseSync } from "node:sqlite";

const heldNames = 100_000;
const readAtOnce = 1024;
const pageRows = 1000;

/** Throws what reading the folder throws, before the first name is given. */
export function* folderNames(folder: Buffer, maxHeld = heldNames): Generator<Buffer> {
  let held: Buffer[] = [];
  let database: DatabaseSync | null = null;
  try {
    // Names come as buffers, which Node's types don't know of opendir.
    const directory = opendirSync(folder.toString("latin1"), {
      encoding: "buffer" as BufferEncoding,
      bufferSize: readAtOnce,
    });
    try {
      for (let name = nextName(directory); name !== null; name = nextName(directory)) {
        held.push(name);
        if (held.length < maxHeld) continue;
        database ??= openSorter();
        insert(database, held);
        held = [];
      }
    } finally {
      directory.closeSync();
    }
    if (database === null) {
      yield* held.sort((a, b) => a.compare(b));
      return;
    }
    insert(database, held);
    held = [];
    yield* sorted(database);
  } finally {
    database?.close();
  }
}

function nextName(directory: Dir): Buffer | null {
  return (directory.readSync()?.name ?? null) as Buffer | null;
}

function openSorter(): DatabaseSync {
  const database = new DatabaseSync("");
  database.exec("PRAGMA journal_mode = OFF; CREATE TABLE names (name BLOB PRIMARY KEY) WITHOUT ROWID");
  return database;
}

function insert(database: DatabaseSync, names: readonly Buffer[]): void {
  // A name that was added and removed meanwhile may come twice.
  const statement = database.prepare("INSERT OR IGNORE INTO names VALUES (?)");
  database.exec("BEGIN");
  for (const name of names) statement.run(name);
  database.exec("COMMIT");
}

function* sorted(database: DatabaseSync): Generator<Buffer> {
  const page = database.prepare(`SELECT name FROM names WHERE name > ? ORDER BY name LIMIT ${pageRows}`);
  let after: Uint8Array = new Uint8Array(0);
  for (;;) {
    const rows = page.all(after) as { name: Uint8Array }[];
    for (const { name } of rows) yield Buffer.from(name.buffer, name.byteOffset, name.byteLength);
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.name;
  }
}
