// What goes into agent/once.ts on standard input, and what comes out of it on standard output: the same jobs as
// through the queue, for a machine with Docker and no queue. The job needs no signature: who can write to the
// process's standard input could as well run another process. Secrets are on standard input alone.
import { z } from "zod";
import { base64Bytes } from "../base64-bytes.ts";
import { SkepError } from "../errors.ts";
import { faultPlaces } from "../fault-list.ts";
import { parseJsonText } from "../json-text.ts";
import { errorRecordSchema } from "../repository/run.ts";
import { writerIdPattern } from "../repository/layout.ts";
import { recipientSchema } from "../repository/repository-object.ts";
import { storeCredentials, storeLocation } from "../store/location.ts";
import { jobSchema, restoreKeysSchema } from "./job.ts";
import { taskResultSchema } from "./task-result.ts";
import { jobProgressSchema } from "./job-progress.ts";

export const absolutePath = z.string().max(4096).startsWith("/");

export const onceInputSchema = z.strictObject({
  job: jobSchema,
  /** Counts the attempts at this job, from 1; it stands in the part. */
  attempt: z.int().min(1).max(1000).optional(),
  writerId: z.string().regex(writerIdPattern),
  /** 32 bytes. */
  writerKey: base64Bytes(32),
  epoch: z.strictObject({ number: z.int().min(1), recipient: recipientSchema }),
  store: storeLocation,
  /** Null for a folder. */
  credentials: storeCredentials.nullable(),
  /** Of a `restore-volume`: its keys in clear; the task's sealedKeys is "" then. */
  identityKeys: restoreKeysSchema.optional(),
  /** Where the host's / is seen; `/` on the host itself. */
  hostRoot: absolutePath,
  /** For the cache and the journal; made where it is missing. */
  stateDir: absolutePath,
  dockerSocket: absolutePath,
  /** Where the volume of the task is mounted in this process's view, where the one who started it mounted it there. */
  mountedAt: absolutePath.optional(),
});
export type OnceInput = z.infer<typeof onceInputSchema>;

/** Throws SKEP_ONCE_INPUT_INVALID, with nothing of the input: keys are in it. */
export function decodeOnceInput(text: Uint8Array): OnceInput {
  const parsed = onceInputSchema.safeParse(parseJsonText(text));
  if (parsed.success) return parsed.data;
  throw onceInputInvalid(`wrong at ${faultPlaces(parsed.error)}`);
}

/** SKEP_ONCE_INPUT_INVALID. */
export function onceInputInvalid(why: string): SkepError {
  return new SkepError({
    code: "SKEP_ONCE_INPUT_INVALID",
    message: `standard input holds no job for agent/once.ts: ${why}`,
    permanent: true,
    hint: "shared/contract/once.ts says what it takes; CLI and agent must be of one version",
  });
}

/** One line of standard output, as JSON. The last one is `result` or `error`. */
export const onceLineSchema = z.union([
  z.strictObject({ progress: jobProgressSchema }),
  z.strictObject({ result: taskResultSchema }),
  z.strictObject({ error: errorRecordSchema }),
]);
export type OnceLine = z.infer<typeof onceLineSchema>;

/** The document on standard input is no longer than this; sealed keys of a large volume are most of it. */
export const maxOnceInputBytes = 128 * 1024 * 1024;
