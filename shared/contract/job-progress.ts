// How far a job is, as its agent tells while it works.
import { z } from "zod";

/** What a running job says of itself; small, at most one a second. */
export const jobProgressSchema = z.strictObject({
  phase: z.string().max(64),
  doneBytes: z.int().min(0),
  /** Null where it is not known yet. */
  totalBytes: z.int().min(0).nullable(),
  doneFiles: z.int().min(0),
});
export type JobProgress = z.infer<typeof jobProgressSchema>;
