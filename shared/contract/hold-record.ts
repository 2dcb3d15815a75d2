// What is known of a service that Skep holds, as it lies in the swarm: one Docker config for each service of each hold,
// written before the service is touched. It is outside of every spec, any manager reads it, and a Raft copy has it.
// The data never changes; what comes later stands in the config's labels. A person reads it with `docker config inspect`.
import { z } from "zod";
import { parseJsonText } from "../json-text.ts";
import { specJsonSchema } from "../held-spec.ts";
import { restoreIdSchema } from "./job.ts";

export const holdLabels = {
  /** The hold's id. */
  hold: "io.skep.hold",
  service: "io.skep.hold.service",
  /** ISO 8601: when the service was told to stop. */
  heldAt: "io.skep.hold.held-at",
  /** ISO 8601: the hold is over, whoever ended it. */
  releasedAt: "io.skep.hold.released-at",
  /** Version index of the service after Skep's own last update of it. */
  version: "io.skep.hold.version",
} as const;

export const holdRecordSchema = z.strictObject({
  version: z.literal(1),
  holdId: restoreIdSchema,
  /** Released by whoever comes by after this. */
  deadlineAt: z.iso.datetime(),
  serviceId: z.string().regex(/^[a-z0-9]{1,64}$/),
  /** What the service is to be again. */
  former: specJsonSchema,
  /** What a rollback of `former` goes to; null where the service was never updated. */
  previous: specJsonSchema.nullable(),
  /** Docker's own, which any update clears; for people. */
  updateStatus: z.looseObject({}).nullable(),
  /** Of the service when this was written. */
  serviceVersion: z.int().min(0),
});
export type HoldRecord = z.infer<typeof holdRecordSchema>;

export const holdRecordName = (holdId: string, serviceId: string, serviceVersion: number): string =>
  `skep-hold-${holdId}-${serviceId}-${serviceVersion}`;

/** Of the config that says of a whole hold that it is over, before it may have a record: labelled as one of no service, and no record is in it. */
export const holdOverName = (holdId: string): string => `skep-hold-${holdId}-over`;

export function encodeHoldRecord(record: HoldRecord): Uint8Array {
  return Buffer.from(JSON.stringify(record), "utf8");
}

/** Null for what somebody else labelled so. */
export function decodeHoldRecord(data: Uint8Array): HoldRecord | null {
  return holdRecordSchema.safeParse(parseJsonText(data)).data ?? null;
}
