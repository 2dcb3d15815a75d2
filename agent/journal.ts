// What this agent accepted and did, in node:sqlite in its state folder. A job is written down before it is begun.
// It is begun again only as a retry, up to its maxAttempts; a job that was done gives its recorded result to a
// queue that lost it, and is refused once the queue has it: whoever copies an old job into Redis makes nothing run.
import { DatabaseSync } from "node:sqlite";
import { z } from "zod";
import { SkepError } from "../shared/errors.ts";
import { sealedResultSchema, type SealedResult } from "../shared/contract/signed-job.ts";
import type { Job } from "../shared/contract/job.ts";

export type Acceptance =
  /** Begin; `attempt` counts from 1. */
  | { kind: "begin"; attempt: number }
  /** It was done before, and the queue does not know yet. */
  | { kind: "done"; result: SealedResult };

const rowSchema = z.object({
  attempts: z.int(),
  state: z.enum(["accepted", "done", "acknowledged"]),
  result: z.string().nullable(),
});

/** Kept for so long after the job's expiry: an expired job is refused anyway. */
const keptMs = 24 * 3600_000;
/** Its run may go on reading for days after the deadline of the quiet. */
const stepsKeptMs = 30 * 24 * 3600_000;

export class Journal {
  readonly file: string;
  readonly #database: DatabaseSync;

  /** Opens or makes the file; a damaged one throws SKEP_STATE_DAMAGED. */
  constructor(file: string) {
    this.file = file;
    try {
      this.#database = new DatabaseSync(file, { timeout: 5000 });
      this.#database.exec(`
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        CREATE TABLE IF NOT EXISTS jobs (
          id TEXT PRIMARY KEY, attempts INTEGER NOT NULL, state TEXT NOT NULL, result TEXT, expires_at INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE IF NOT EXISTS pauses (
          pause_id TEXT PRIMARY KEY, record TEXT NOT NULL
        ) STRICT;
        CREATE TABLE IF NOT EXISTS pause_steps (
          pause_id TEXT NOT NULL, step TEXT NOT NULL, said TEXT NOT NULL, noted_at INTEGER NOT NULL,
          PRIMARY KEY (pause_id, step)
        ) STRICT;
        CREATE TABLE IF NOT EXISTS moments (
          name TEXT PRIMARY KEY, record TEXT NOT NULL
        ) STRICT;
        CREATE TABLE IF NOT EXISTS hold_notes (
          hold_id TEXT PRIMARY KEY, record TEXT NOT NULL
        ) STRICT;
        CREATE TABLE IF NOT EXISTS swaps (
          restore_id TEXT PRIMARY KEY, record TEXT NOT NULL
        ) STRICT;
      `);
    } catch (error) {
      throw new SkepError({
        code: "SKEP_STATE_DAMAGED",
        message: `the agent's journal ${file} cannot be opened: ${(error as Error).message}`,
        permanent: true,
        hint: "free space on its disk; if the file is damaged, move it away: jobs under way are then begun anew",
        cause: error,
      });
    }
  }

  /** Writes the job down, durably. Throws SKEP_JOB_REPLAYED for one that was done, or was begun maxAttempts times. */
  accept(job: Pick<Job, "id" | "maxAttempts" | "expiresAt">): Acceptance {
    const refuse = (why: string): SkepError =>
      new SkepError({
        code: "SKEP_JOB_REPLAYED",
        message: `job ${job.id} ${why}`,
        permanent: true,
        hint: "order it anew; if nobody ordered it twice, somebody else can write to Redis",
      });
    const found = this.#database.prepare("SELECT attempts, state, result FROM jobs WHERE id = ?").get(job.id);
    if (found === undefined) {
      this.#database
        .prepare("INSERT INTO jobs (id, attempts, state, result, expires_at) VALUES (?, 1, 'accepted', NULL, ?)")
        .run(job.id, Date.parse(job.expiresAt));
      return { kind: "begin", attempt: 1 };
    }
    const row = rowSchema.parse(found);
    if (row.state === "acknowledged") throw refuse("was done before");
    if (row.state === "done") {
      return { kind: "done", result: sealedResultSchema.parse(JSON.parse(row.result ?? "null")) };
    }
    if (row.attempts >= job.maxAttempts)
      throw refuse(`was begun ${row.attempts} times, which is as often as it may be`);
    this.#database.prepare("UPDATE jobs SET attempts = attempts + 1 WHERE id = ?").run(job.id);
    return { kind: "begin", attempt: row.attempts + 1 };
  }

  /** An attempt that was broken off because the agent stops: it does not count. */
  giveBack(jobId: string): void {
    this.#database.prepare("UPDATE jobs SET attempts = attempts - 1 WHERE id = ? AND state = 'accepted'").run(jobId);
  }

  /** Before the result goes to the queue. */
  done(jobId: string, result: SealedResult): void {
    this.#database
      .prepare("UPDATE jobs SET state = 'done', result = ? WHERE id = ?")
      .run(JSON.stringify(result), jobId);
  }

  /** Once the queue has the result. */
  acknowledged(jobId: string): void {
    this.#database.prepare("UPDATE jobs SET state = 'acknowledged', result = NULL WHERE id = ?").run(jobId);
  }

  /** Forgets jobs that expired long ago, and pauses that nobody asks for any more; `now` in ms since 1970. */
  prune(now: number): void {
    this.#database.prepare("DELETE FROM jobs WHERE expires_at < ?").run(now - keptMs);
    this.#database.prepare("DELETE FROM pause_steps WHERE noted_at < ?").run(now - stepsKeptMs);
  }

  /** JSON text of a swap, by restore id; null where there is none. volume-swap.ts says what is in it. */
  swap(restoreId: string): string | null {
    const row = this.#database.prepare("SELECT record FROM swaps WHERE restore_id = ?").get(restoreId);
    return row === undefined ? null : z.object({ record: z.string() }).parse(row).record;
  }

  swaps(): string[] {
    const rows = this.#database.prepare("SELECT record FROM swaps ORDER BY rowid").all();
    return z
      .array(z.object({ record: z.string() }))
      .parse(rows)
      .map((row) => row.record);
  }

  /** Durable when it returns. */
  putSwap(restoreId: string, record: string): void {
    // A row that is replaced would move behind those that began later.
    const keeping = "ON CONFLICT (restore_id) DO UPDATE SET record = excluded.record";
    this.#database.prepare(`INSERT INTO swaps (restore_id, record) VALUES (?, ?) ${keeping}`).run(restoreId, record);
  }

  removeSwap(restoreId: string): void {
    this.#database.prepare("DELETE FROM swaps WHERE restore_id = ?").run(restoreId);
  }

  /** JSON texts of what is paused; quiesce/pause.ts says what is in them. */
  pauses(): string[] {
    const rows = this.#database.prepare("SELECT record FROM pauses ORDER BY pause_id").all();
    return z
      .array(z.object({ record: z.string() }))
      .parse(rows)
      .map((row) => row.record);
  }

  /** Durable when it returns. */
  putPause(pauseId: string, record: string): void {
    this.#database.prepare("INSERT OR REPLACE INTO pauses (pause_id, record) VALUES (?, ?)").run(pauseId, record);
  }

  /** `quiet`: JSON text of how long what stood still, for whoever asks later. `now`: ms since 1970. */
  endPause(pauseId: string, quiet: string, now: number): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      this.notePauseStep(pauseId, "quiet", quiet, now);
      this.#database.prepare("DELETE FROM pauses WHERE pause_id = ?").run(pauseId);
      this.#database.exec("COMMIT");
    } catch (error) {
      // A full disk has ended it already.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  /** Durable when it returns. `said`: JSON text; quiesce/pause-steps.ts says what is in it. `now`: ms since 1970. */
  notePauseStep(pauseId: string, step: string, said: string, now: number): void {
    this.#database
      .prepare("INSERT OR REPLACE INTO pause_steps (pause_id, step, said, noted_at) VALUES (?, ?, ?, ?)")
      .run(pauseId, step, said, now);
  }

  /** As it was noted; null where it was not, or is forgotten. */
  pauseStep(pauseId: string, step: string): string | null {
    const row = this.#database
      .prepare("SELECT said FROM pause_steps WHERE pause_id = ? AND step = ?")
      .get(pauseId, step);
    return row === undefined ? null : z.object({ said: z.string() }).parse(row).said;
  }

  /** JSON texts of a standalone run's holds, in the order in which they were begun; quiesce/hold-note.ts says what is in them. */
  holds(): string[] {
    const rows = this.#database.prepare("SELECT record FROM hold_notes ORDER BY rowid").all();
    return z
      .array(z.object({ record: z.string() }))
      .parse(rows)
      .map((row) => row.record);
  }

  /** Durable when it returns. */
  putHold(holdId: string, record: string): void {
    const keeping = "ON CONFLICT (hold_id) DO UPDATE SET record = excluded.record";
    this.#database.prepare(`INSERT INTO hold_notes (hold_id, record) VALUES (?, ?) ${keeping}`).run(holdId, record);
  }

  removeHold(holdId: string): void {
    this.#database.prepare("DELETE FROM hold_notes WHERE hold_id = ?").run(holdId);
  }

  /** JSON texts of moments that are, or may be, there; moment/moments.ts says what is in them. */
  moments(): string[] {
    const rows = this.#database.prepare("SELECT record FROM moments ORDER BY name").all();
    return z
      .array(z.object({ record: z.string() }))
      .parse(rows)
      .map((row) => row.record);
  }

  /** Durable when it returns. */
  putMoment(name: string, record: string): void {
    this.#database.prepare("INSERT OR REPLACE INTO moments (name, record) VALUES (?, ?)").run(name, record);
  }

  removeMoment(name: string): void {
    this.#database.prepare("DELETE FROM moments WHERE name = ?").run(name);
  }

  close(): void {
    this.#database.close();
  }
}
