// Which runs the store itself keeps from being deleted, and until when: what the last pass over the locks found, for people
// and for the next pass. A sealed document of the controller's. It is a record; the locks themselves are the store's.
import { z } from "zod";
import { digestPattern, runIdPattern } from "./layout.ts";
import { errorRecordSchema } from "./run.ts";

const time = z.iso.datetime();

export const runProtectionSchema = z.strictObject({
  id: z.string().regex(runIdPattern),
  /** Digest of the keys of its refs: a compaction replaces them, and then all is looked at again. */
  refs: z.string().regex(digestPattern),
  /**
   * No object that the run needs can be deleted before; where the record has a fault of what all runs need, none that it
   * needs alone. Null: not all of them are locked, `fault` says why.
   */
  until: time.nullable(),
  fault: errorRecordSchema.nullable(),
});
export type RunProtection = z.infer<typeof runProtectionSchema>;

export const protectionSchema = z.strictObject({
  format: z.literal(1),
  /** By the clock of the store. */
  writtenAt: time,
  /** As the policy had it. */
  lockDays: z.int().min(1),
  /** Why no run is protected: the store has no locks, or what all runs need (keys, index, chain) cannot be locked. */
  fault: errorRecordSchema.nullable(),
  /** Of the runs that are kept, newest first. */
  runs: z.array(runProtectionSchema).max(100_000),
});
export type Protection = z.infer<typeof protectionSchema>;

/** As a list of runs shows it; null where nothing was to be locked, or the run was not looked at yet. */
export interface ShownProtection {
  until: string | null;
  fault: string | null;
}

export function protectionOf(protection: Protection | null, runId: string): ShownProtection | null {
  const found = protection?.runs.find(({ id }) => id === runId);
  const fault = protection?.fault ?? found?.fault ?? null;
  if (fault !== null) return { until: null, fault: `${fault.code}: ${fault.message}` };
  return found === undefined ? null : { until: found.until, fault: null };
}
