// What `skep restore …` prints with --json; documents.ts has the other commands, and what holds for all.
import { z } from "zod";
import { existingFilesSchema, mergedFilesSchema, thereSchema } from "../../shared/contract/chosen-files.ts";
import { commandRecordSchema, warningSchema } from "../../shared/repository/run.ts";

const objectKind = z.enum(["network", "secret", "config", "service"]);

/** skep restore secret, config, network, service, stack. `result` is null where nothing was done. */
export const restoreObjectsDocument = z.strictObject({
  source: z.string(),
  engine: z.string(),
  steps: z.array(
    z.strictObject({
      kind: objectKind,
      name: z.string(),
      action: z.enum(["create", "keep", "relabel", "update"]),
      why: z.string(),
      /** From what is there to what is wanted; null where a field is absent. Never a secret's data. */
      changes: z.array(z.strictObject({ path: z.string(), before: z.unknown(), after: z.unknown() })),
    }),
  ),
  /** While there is one nothing is done. */
  conflicts: z.array(z.strictObject({ kind: objectKind, name: z.string(), what: z.string(), hint: z.string() })),
  notes: z.array(z.string()),
  done: z.boolean(),
  result: z
    .array(
      z.strictObject({
        kind: objectKind,
        name: z.string(),
        result: z.enum(["equal", "held", "different", "missing"]),
      }),
    )
    .nullable(),
});
export type RestoreObjectsDocument = z.infer<typeof restoreObjectsDocument>;

/** skep restore image. `result` is null where nothing was done. */
export const restoreImageDocument = z.strictObject({
  runId: z.string(),
  takenAt: z.string(),
  engine: z.string(),
  image: z.strictObject({ id: z.string(), architecture: z.string(), os: z.string() }),
  sizeBytes: z.int(),
  /** The engine had it before. */
  present: z.boolean(),
  names: z.array(
    z.strictObject({
      name: z.string(),
      /** The reference by digest that services name; null where the name is theirs. */
      standsFor: z.string().nullable(),
      action: z.enum(["give", "keep", "leave", "move"]),
      /** Id of the image that has the name. */
      now: z.string().nullable(),
    }),
  ),
  /** Names of other images; while there is one nothing is done. */
  conflicts: z.array(z.string()),
  result: z.strictObject({ id: z.string(), loaded: z.boolean(), named: z.array(z.string()) }).nullable(),
});
export type RestoreImageDocument = z.infer<typeof restoreImageDocument>;

/** skep restore files --to; with --into it is restoreDocument. */
export const restoredFilesDocument = z.strictObject({
  to: z.string(),
  restored: z.array(
    z.strictObject({
      runId: z.string(),
      takenAt: z.string(),
      target: z.string(),
      files: z.int(),
      directories: z.int(),
      restoredBytes: z.int(),
      warnings: z.array(warningSchema),
    }),
  ),
});
export type RestoredFilesDocument = z.infer<typeof restoredFilesDocument>;

/** What a restore will do, or did. */
export const restorePlanDocument = z.strictObject({
  runId: z.string(),
  takenAt: z.string(),
  source: z.strictObject({ nodeId: z.string(), hostname: z.string(), volume: z.string() }),
  target: z.strictObject({ nodeId: z.string(), hostname: z.string(), targetName: z.string(), exists: z.boolean() }),
  files: z.int(),
  sourceBytes: z.int(),
  freeBytes: z.int(),
  usedBy: z.array(z.string()),
  stop: z.boolean(),
  /** Of a dump: it goes to this command in that container, and into no volume by itself. */
  load: z.strictObject({ container: z.string(), argv: z.array(z.string()) }).nullable(),
  /** False: the snapshot lacks something; the exit code is 3 then. */
  whole: z.boolean(),
  /** `skep restore files --into`: these into the volume as it is, and what is at each now. */
  chosen: z
    .array(z.strictObject({ path: z.string(), files: z.int(), sourceBytes: z.int(), there: thereSchema }))
    .optional(),
  existing: existingFilesSchema.optional(),
});
export type RestorePlanDocument = z.infer<typeof restorePlanDocument>;

/** skep restore volume, and skep restore files --into. `result` is null where the plan was declined, and where it was lost. */
export const restoreDocument = z.strictObject({
  restoreId: z.string(),
  plan: restorePlanDocument,
  result: z
    .discriminatedUnion("kind", [
      z.strictObject({
        kind: z.literal("restore-volume"),
        files: z.int(),
        directories: z.int(),
        restoredBytes: z.int(),
        /** True: `skep restore undo` and `discard` know it. */
        keptOld: z.boolean(),
        warnings: z.array(warningSchema),
        /** Of `--into`: files put where there was nothing, in the place of another, and not, being equal or left. */
        merged: mergedFilesSchema.optional(),
      }),
      z.strictObject({ kind: z.literal("restore-load"), loadedBytes: z.int(), command: commandRecordSchema }),
    ])
    .nullable(),
  /** What was restored is in place, and what its agent counted was lost; the exit code is 3 then. */
  inPlace: z.literal(true).optional(),
});
export type RestoreDocument = z.infer<typeof restoreDocument>;

/** skep restore list --standalone; with a controller it is restoresSchema (controller/api/schemas.ts). */
export const restoresHereDocument = z.strictObject({
  restores: z.array(z.strictObject({ restoreId: z.string(), state: z.literal("done"), targetName: z.string() })),
});
export type RestoresHereDocument = z.infer<typeof restoresHereDocument>;

/** skep restore undo, skep restore discard. */
export const restoreEndDocument = z.strictObject({
  restoreId: z.string(),
  volume: z.string(),
  state: z.enum(["undone", "discarded"]),
  freedBytes: z.int().nullable(),
});
export type RestoreEndDocument = z.infer<typeof restoreEndDocument>;
