// What a recovery has done, on the operator's machine: one line a step event, flushed to the disk before the next thing
// happens. A second `skep recover run` reads it and goes on. The first line ties it to a run, an inventory and a repository;
// a line that a crash cut short is the last one, and is dropped. No secret is in it.
import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { shapeFaults } from "../../shared/fault-list.ts";
import { flushFolder } from "../../shared/store/durable-file.ts";
import { errorRecordSchema } from "../../shared/repository/run.ts";

export const recoveryModes = ["raft", "quorum", "rebuild"] as const;
export type RecoveryMode = (typeof recoveryModes)[number];

const headSchema = z.strictObject({
  format: z.literal(1),
  /** Twelve of digits and small letters; names what the recovery leaves on machines. */
  recoveryId: z.string().regex(/^[0-9a-z]{12}$/),
  mode: z.enum(recoveryModes),
  repositoryId: z.string(),
  runId: z.string(),
  /** SHA-256 of the inventory as it was read, hex. */
  inventoryDigest: z.string().regex(/^[0-9a-f]{64}$/),
  startedAt: z.iso.datetime(),
});
export type JournalHead = z.infer<typeof headSchema>;

/** What a step leaves for later ones and for the report; JSON, no secrets. */
export type StepResult = Record<string, unknown>;

const eventSchema = z.strictObject({
  at: z.iso.datetime(),
  step: z.string().min(1).max(1024),
  event: z.enum(["started", "done", "failed"]),
  /** Of `done`. */
  result: z.record(z.string(), z.unknown()).optional(),
  /** Of `failed`. */
  error: errorRecordSchema.optional(),
});
export type JournalEvent = z.infer<typeof eventSchema>;

const fileName = "journal.jsonl";

export class Journal {
  readonly head: JournalHead;
  readonly #file: number;
  readonly #events: JournalEvent[];

  private constructor(head: JournalHead, file: number, events: JournalEvent[]) {
    this.head = head;
    this.#file = file;
    this.#events = events;
  }

  /**
   * Opens the folder's journal, or begins one with `head`. Throws SKEP_RECOVERY_JOURNAL_OTHER where it belongs to
   * another recovery, SKEP_RECOVERY_JOURNAL_INVALID where it is damaged.
   */
  static async open(folder: string, head: JournalHead): Promise<Journal> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, fileName);
    const file = openSync(path, "a+", 0o600);
    try {
      const text = readFileSync(path, "utf8");
      const wholeLength = text.lastIndexOf("\n") + 1;
      const lines = text
        .slice(0, wholeLength)
        .split("\n")
        .filter((line) => line !== "");
      // Appending after half a line would make one that nobody can read.
      if (wholeLength < text.length) ftruncateSync(file, Buffer.byteLength(text.slice(0, wholeLength)));
      if (lines.length === 0) {
        const journal = new Journal(head, file, []);
        journal.#append(headSchema.parse(head));
        await flushFolder(folder);
        return journal;
      }
      const found = parse(headSchema, lines[0] ?? "", path, 1);
      refuseOther(found, head, path);
      const events = lines.slice(1).map((line, index) => parse(eventSchema, line, path, index + 2));
      return new Journal(found, file, events);
    } catch (error) {
      closeSync(file);
      throw error;
    }
  }

  /** The first line of the folder's journal; null without a journal. Throws as `open`. */
  static headIn(folder: string): JournalHead | null {
    const path = join(folder, fileName);
    const [first, ...more] = readIfThere(path).split("\n");
    return first === undefined || more.length === 0 ? null : parse(headSchema, first, path, 1);
  }

  /** What the folder's journal says so far; nothing without a journal. Throws as `open`. */
  static eventsIn(folder: string): JournalEvent[] {
    const path = join(folder, fileName);
    const text = readIfThere(path);
    // Half a line is what a crash cut short.
    const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
    return lines.flatMap((line, index) =>
      index === 0 || line === "" ? [] : [parse(eventSchema, line, path, index + 1)],
    );
  }

  get events(): readonly JournalEvent[] {
    return this.#events;
  }

  /** What a step left when it was done; null while it is not. A step that was begun anew is not. */
  resultOf(step: string): StepResult | null {
    return resultIn(this.#events, step);
  }

  record(event: JournalEvent): void {
    this.#append(eventSchema.parse(event));
    this.#events.push(event);
  }

  #append(line: object): void {
    writeSync(this.#file, `${JSON.stringify(line)}\n`);
    fsyncSync(this.#file);
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** "" without a file. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

/** As Journal.resultOf, of events. */
export function resultIn(events: readonly JournalEvent[], step: string): StepResult | null {
  const last = events.findLast((event) => event.step === step);
  return last?.event === "done" ? (last.result ?? {}) : null;
}

function parse<T>(schema: z.ZodType<T>, line: string, path: string, number: number): T {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    json = undefined;
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new SkepError({
    code: "SKEP_RECOVERY_JOURNAL_INVALID",
    message: `line ${number} of ${path} is no line of a recovery's journal: ${shapeFaults(parsed.error)}`,
    permanent: true,
    hint: "was it edited, or written by another version? Begin anew in another folder: --journal FOLDER",
  });
}

function refuseOther(found: JournalHead, wanted: JournalHead, path: string): void {
  const differing = (["mode", "repositoryId", "runId", "inventoryDigest"] as const).filter(
    (field) => found[field] !== wanted[field],
  );
  if (differing.length === 0) return;
  const names = { mode: "mode", repositoryId: "repository", runId: "run", inventoryDigest: "inventory" };
  throw new SkepError({
    code: "SKEP_RECOVERY_JOURNAL_OTHER",
    message: `${path} belongs to a recovery with another ${differing.map((field) => names[field]).join(", another ")}`,
    permanent: true,
    hint: "go on with what it was begun with (run, mode, unchanged inventory), or begin anew: --journal FOLDER",
  });
}

/** The last event of each step that they name. */
export function lastEvents(events: readonly JournalEvent[]): Map<string, JournalEvent["event"]> {
  return new Map(events.map(({ step, event }) => [step, event]));
}
