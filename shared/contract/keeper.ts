// What a standalone run and its keeper (agent/keeper.ts) say to each other, as lines of JSON: orders on the keeper's
// standard input, answers on its standard output. The end of its input is the order to let all go, and to end.
import { z } from "zod";
import { errorRecordSchema } from "../repository/run.ts";
import { jobProgressSchema, taskResultSchema } from "./job.ts";
import { absolutePath, onceInputSchema } from "./once.ts";

/** In the state folder, while there is something to be undone, or may be. */
export const standaloneJournal = "standalone.sqlite";

const id = z.int().min(1);

export const keeperOrderSchema = z.union([
  /** The first one. */
  z.strictObject({ open: z.strictObject({ stateDir: absolutePath, dockerSocket: absolutePath }) }),
  z.strictObject({ id, work: onceInputSchema }),
]);
export type KeeperOrder = z.infer<typeof keeperOrderSchema>;

/** What came of what was left quiet. */
export const undoneSchema = z.strictObject({
  /** Names of containers that went on. */
  wentOn: z.array(z.string().max(1024)),
  /** Copies of a filesystem that were removed. */
  removed: z.array(z.string().max(8192)),
  /** What could not be undone, and is tried again. */
  faults: z.array(errorRecordSchema),
});
export type Undone = z.infer<typeof undoneSchema>;

export const keeperLineSchema = z.union([
  /** It holds the state folder; this is what it found there of a run that was killed. */
  z.strictObject({ ready: undoneSchema }),
  z.strictObject({ id, progress: jobProgressSchema }),
  z.strictObject({ id, result: taskResultSchema }),
  z.strictObject({ id, error: errorRecordSchema }),
  /** The last line: of a keeper that can't begin, or that could not let all go. */
  z.strictObject({ error: errorRecordSchema }),
]);
export type KeeperLine = z.infer<typeof keeperLineSchema>;
