// What a standalone run and its keeper (agent/keeper.ts) say to each other, as lines of JSON: orders on the keeper's
// standard input, answers on its standard output. The end of its input is the order to let all go, and to end.
import { z } from "zod";
import { SkepError } from "../errors.ts";
import { parseJsonText } from "../json-text.ts";
import { errorRecordSchema } from "../repository/run.ts";
import { taskResultSchema } from "./task-result.ts";
import { jobProgressSchema } from "./job-progress.ts";
import type { TaskKind } from "./job.ts";
import { absolutePath, onceInputSchema } from "./once.ts";

/** In the state folder, while there is something to be undone, or may be. */
export const standaloneJournal = "standalone.sqlite";

/** Jobs that make quiet or let go: they are the keeper's alone. */
const quietKinds = ["pause", "unpause", "hold", "release"] as const;
export type QuietKind = (typeof quietKinds)[number];

export function isQuietKind(kind: TaskKind): kind is QuietKind {
  return (quietKinds as readonly TaskKind[]).includes(kind);
}

const id = z.int().min(1);

export const keeperOrderSchema = z.union([
  /** The first one. */
  z.strictObject({ open: z.strictObject({ stateDir: absolutePath, dockerSocket: absolutePath }) }),
  z.strictObject({ id, work: onceInputSchema }),
]);
export type KeeperOrder = z.infer<typeof keeperOrderSchema>;

/** Throws SKEP_ONCE_INPUT_INVALID, with nothing of the line: keys are in it. */
export function decodeKeeperOrder(line: string): KeeperOrder {
  const parsed = keeperOrderSchema.safeParse(parseJsonText(line));
  if (parsed.success) return parsed.data;
  throw keeperOrderInvalid();
}

/** SKEP_ONCE_INPUT_INVALID. */
export function keeperOrderInvalid(): SkepError {
  return new SkepError({
    code: "SKEP_ONCE_INPUT_INVALID",
    message: "standard input holds no order for agent/keeper.ts",
    permanent: true,
    hint: "shared/contract/keeper.ts says what it takes; CLI and agent must be of one version",
  });
}

/** What came of what was left quiet. */
export const undoneSchema = z.strictObject({
  /** Names of containers that went on. */
  wentOn: z.array(z.string().max(1024)),
  /** Names of services that run again. */
  released: z.array(z.string().max(1024)),
  /** Copies of a filesystem that were removed. */
  removed: z.array(z.string().max(8192)),
  /** What could not be undone, and is tried again. */
  faults: z.array(errorRecordSchema),
});
export type Undone = z.infer<typeof undoneSchema>;

export const keeperLineSchema = z.union([
  /** It holds the state folder; this is what it found there of a run that was killed. */
  z.strictObject({ ready: undoneSchema }),
  /** What it can't help, and what stops it in nothing; it may come before `ready`. */
  z.strictObject({ warning: errorRecordSchema }),
  z.strictObject({ id, progress: jobProgressSchema }),
  z.strictObject({ id, result: taskResultSchema }),
  z.strictObject({ id, error: errorRecordSchema }),
  /** The last line: of a keeper that can't begin, or that could not let all go. */
  z.strictObject({ error: errorRecordSchema }),
]);
export type KeeperLine = z.infer<typeof keeperLineSchema>;

const { message, hint } = errorRecordSchema.shape;
const maxMessage = message.maxLength ?? Infinity;
const maxHint = hint.unwrap().maxLength ?? Infinity;

/** The text of a line, with its end; what an error says is cut to what the schema takes. */
export function encodeKeeperLine(line: KeeperLine): string {
  let cut = line;
  if ("error" in line) cut = { ...line, error: cutError(line.error) };
  if ("warning" in line) cut = { warning: cutError(line.warning) };
  if ("ready" in line) cut = { ready: { ...line.ready, faults: line.ready.faults.map(cutError) } };
  return `${JSON.stringify(cut)}\n`;
}

function cutError(record: Undone["faults"][number]): Undone["faults"][number] {
  const message = record.message.slice(0, maxMessage);
  return record.hint === undefined
    ? { ...record, message }
    : { ...record, message, hint: record.hint.slice(0, maxHint) };
}

/** Of a line in another shape: whose answer it would be; null: of none. */
export class UnreadLine {
  readonly id: number | null;

  constructor(id: number | null) {
    this.id = id;
  }
}

/** Null for a line of something else, and for progress that can't be read. */
export function decodeKeeperLine(text: string): KeeperLine | UnreadLine | null {
  const value = parseJsonText(text);
  const { data } = keeperLineSchema.safeParse(value);
  if (data !== undefined) return data;
  if (typeof value !== "object" || value === null || "progress" in value) return null;
  const given = id.safeParse("id" in value ? value.id : null);
  return new UnreadLine(given.data ?? null);
}
