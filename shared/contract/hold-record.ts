// What is known of a service that Skep holds, as it lies in the swarm: one Docker config for each service of each hold,
// written before the service is touched. It is outside of every spec, any manager reads it, and a Raft copy has it.
// The data never changes; what comes later stands in the config's labels. A person reads it with `docker config inspect`.
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { restoreIdSchema } from "./job.ts";

/** No node has this id: a service with it starts nothing. */
export const heldConstraint = "node.id==held-by-skep";

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

/** Engine-API JSON. */
export const specJsonSchema = z.looseObject({
  Name: z.string().max(1024),
  Mode: z.looseObject({
    Replicated: z.looseObject({ Replicas: z.int().min(0).optional() }).nullish(),
    Global: z.looseObject({}).nullish(),
  }),
  TaskTemplate: z.looseObject({
    Placement: z.looseObject({ Constraints: z.array(z.string()).nullish() }).nullish(),
  }),
});
export type SpecJson = z.infer<typeof specJsonSchema>;

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

export function encodeHoldRecord(record: HoldRecord): Uint8Array {
  return Buffer.from(JSON.stringify(record), "utf8");
}

/** Null for what somebody else labelled so. */
export function decodeHoldRecord(data: Uint8Array): HoldRecord | null {
  try {
    return holdRecordSchema.safeParse(JSON.parse(Buffer.from(data).toString("utf8"))).data ?? null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Null for a job, which is never held: an update would run it anew. */
export function heldSpec<S extends SpecJson>(former: S): S | null {
  const { Mode, TaskTemplate } = former;
  if (Mode.Replicated) return { ...former, Mode: { ...Mode, Replicated: { ...Mode.Replicated, Replicas: 0 } } };
  if (!Mode.Global) return null;
  const constraints = [...(TaskTemplate.Placement?.Constraints ?? []), heldConstraint];
  return {
    ...former,
    TaskTemplate: { ...TaskTemplate, Placement: { ...TaskTemplate.Placement, Constraints: constraints } },
  };
}

/** Of JSON values: the order of keys does not count. */
export function sameSpec(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(a, b);
}
