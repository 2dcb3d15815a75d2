// One process at a time keeps things quiet out of a state folder. The lock is SQLite's on a file, so that the kernel
// takes it from whoever dies, in whatever container it ran.
import { DatabaseSync } from "node:sqlite";
import { SkepError } from "../shared/errors.ts";

/** Another one may just be letting go what it kept: it is waited for, ms. */
const waitMs = 2000;

export class HostLock {
  readonly #database: DatabaseSync;

  /** Throws SKEP_STANDALONE_BUSY where another process has it, SKEP_STATE_DAMAGED where the file can't be locked. */
  constructor(file: string) {
    try {
      this.#database = new DatabaseSync(file, { timeout: waitMs });
      this.#database.exec("BEGIN EXCLUSIVE");
    } catch (error) {
      const isBusy = (error as { errcode?: number }).errcode === sqliteBusy;
      throw new SkepError({
        code: isBusy ? "SKEP_STANDALONE_BUSY" : "SKEP_STATE_DAMAGED",
        message: isBusy
          ? `another standalone backup is under way: it holds ${file}`
          : `the lock ${file} cannot be taken: ${(error as Error).message}`,
        permanent: true,
        hint: isBusy ? "wait for its end" : "free space on its disk; is the folder this user's?",
        cause: error,
      });
    }
  }

  release(): void {
    this.#database.close();
  }
}

/** SQLITE_BUSY, sqlite.org/rescode.html. */
const sqliteBusy = 5;
