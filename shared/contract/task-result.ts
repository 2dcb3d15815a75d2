// What an agent answers to a job, by the kind of its task (job.ts).
import { z } from "zod";
import { mergedFilesSchema, thereSchema } from "./chosen-files.ts";
import { foundImageSchema, foundVolumeSchema, serviceId } from "./found.ts";
import { nodeId, restoreIdSchema, restoreOrder, volumeNameSchema, type TaskKind } from "./job.ts";
import {
  commandRecordSchema,
  errorRecordSchema,
  imageFactsSchema,
  notCoveredSchema,
  partSchema,
  runNodeSchema,
} from "../repository/run.ts";

const serviceBrief = z.strictObject({
  id: serviceId,
  name: z.string().max(1024),
  mode: z.enum(["replicated", "global", "replicated-job", "global-job"]),
  replicas: z.int().min(0).nullable(),
  /** Volume names that its containers mount, and bind sources. */
  volumes: z.array(z.string().max(1024)),
  binds: z.array(z.string().max(4096)),
  /** As its spec names it; "" for one without. */
  image: z.string().max(1024),
  /** Those that begin with `skep.`; and those that its containers get. */
  labels: z.record(z.string().max(1024), z.string().max(65_536)),
  containerLabels: z.record(z.string().max(1024), z.string().max(65_536)),
  /** Ids of the nodes that its constraints and platforms allow, whatever their state; null: any. Told of those that have such labels. */
  mayRunOn: z.array(nodeId).max(10_000).nullable(),
});

const raftResult = z.strictObject({ kind: z.literal("raft"), part: partSchema });
const definitionsResult = z.strictObject({
  kind: z.literal("definitions"),
  part: partSchema,
  clusterId: z.string().max(64),
  nodes: z.array(runNodeSchema).max(10000),
  services: z.array(serviceBrief).max(100000),
});
const nodeResult = z.strictObject({
  kind: z.literal("node"),
  part: partSchema,
  volumes: z.array(foundVolumeSchema).max(100000),
  images: z.array(foundImageSchema).max(10000),
  /** Bind mounts, tmpfs, plugin volumes that can't be read: with the reason. */
  notCovered: z.array(notCoveredSchema).max(100000),
});
const volumeResult = z.strictObject({ kind: z.literal("volume"), part: partSchema });
const dumpResult = z.strictObject({ kind: z.literal("dump"), part: partSchema });
/** Without content: it is left to its registry. */
const imageResult = z.strictObject({ kind: z.literal("image"), part: partSchema });
const commands = z.array(commandRecordSchema).max(1000);
const pauseResult = z.strictObject({
  kind: z.literal("pause"),
  /** Names of containers. */
  paused: z.array(z.string().max(1024)).max(10_000),
  stopped: z.array(z.string().max(1024)).max(10_000),
  commands,
  /** Why nothing is quiet, though commands ran. */
  fault: errorRecordSchema.optional(),
});
const unpauseResult = z.strictObject({
  kind: z.literal("unpause"),
  /** By name of container. */
  quiet: partSchema.shape.quiet.unwrap(),
  commands,
  /** What went wrong, though it was quiet, or commands ran. */
  fault: errorRecordSchema.optional(),
});
/** What hooks came to. */
export const hooksRanSchema = unpauseResult.pick({ commands: true, fault: true });
const watchResult = z.strictObject({ kind: z.literal("watch") });
const proveResult = z.strictObject({
  kind: z.literal("prove"),
  /** Volumes that were not quiet throughout. */
  broken: z.array(z.strictObject({ volume: volumeNameSchema, why: z.string().max(1024) })).max(10_000),
});
const restorePrepareResult = z.strictObject({
  kind: z.literal("restore-prepare"),
  /** age recipient made for this restore; its identity is in the agent's memory only. */
  recipient: z.string().regex(/^age1[0-9a-z]{20,4000}$/),
  /** `exists`: will be swapped and the old one kept; `missing`: will be made. */
  target: z.enum(["exists", "missing"]),
  freeBytes: z.int().min(0),
  /** Containers that use the volume now: [container name, service id or null]. */
  usedBy: z.array(z.strictObject({ container: z.string().max(1024), serviceId: serviceId.nullable() })).max(1000),
  /** Of a dump: name of the container in which its command would run. */
  loadsIn: z.string().max(1024).optional(),
  /** What is at each of the chosen paths now, in their order. */
  there: z.array(thereSchema).max(1000).optional(),
});
const restoreVolumeResult = z.strictObject({
  kind: z.literal("restore-volume"),
  files: z.int().min(0),
  directories: z.int().min(0),
  restoredBytes: z.int().min(0),
  /** Where the former content is kept, until discard; null where there was none. */
  keptOld: z.boolean(),
  warnings: partSchema.shape.warnings,
  /** Of chosen files: how many were put where there was nothing, in the place of another, and not, being equal or left. */
  merged: mergedFilesSchema.optional(),
});
const restoreLoadResult = z.strictObject({
  kind: z.literal("restore-load"),
  loadedBytes: z.int().min(0),
  /** It ended with 0; what it wrote may tell more. */
  command: commandRecordSchema,
});
const restoreImageResult = z.strictObject({
  kind: z.literal("restore-image"),
  id: imageFactsSchema.shape.id,
  /** True where the engine had it before. */
  present: z.boolean(),
});
const restoreListResult = z.strictObject({
  kind: z.literal("restore-list"),
  restores: z
    .array(z.strictObject({ restoreId: restoreIdSchema, volume: volumeNameSchema, order: restoreOrder.nullable() }))
    .max(1000),
});
const restoreUndoResult = z.strictObject({ kind: z.literal("restore-undo"), volume: volumeNameSchema });
const restoreDiscardResult = z.strictObject({
  kind: z.literal("restore-discard"),
  volume: volumeNameSchema,
  freedBytes: z.int().min(0),
});
const holdResult = z.strictObject({
  kind: z.literal("hold"),
  /** `replicas`: what a replicated service had; null for a global one. */
  held: z.array(z.strictObject({ serviceId, name: z.string().max(1024), replicas: z.int().min(0).nullable() })),
  skipped: z.array(
    z.strictObject({
      serviceId,
      name: z.string().max(1024),
      reason: z.enum(["job", "update", "placement", "changed", "held"]),
      message: z.string().max(4096),
    }),
  ),
});
const releaseResult = z.strictObject({
  kind: z.literal("release"),
  released: z.array(z.string().max(1024)),
  /** Changed by somebody meanwhile: left as that one wanted it. */
  leftAlone: z.array(z.string().max(1024)),
  /** Rolled back by somebody meanwhile: taken to what that one meant. */
  rolledBack: z.array(z.string().max(1024)),
  /** From the order to stop to the order to start. */
  quiet: z.array(z.strictObject({ service: z.string().max(1024), quietMs: z.int().min(0) })),
});
const rollbackResult = z.strictObject({
  kind: z.literal("rollback"),
  service: z.string().max(1024),
  /** True where the engine's previous spec was what a hold had left, and the record gave the real one. */
  fromRecord: z.boolean(),
});

export const taskResultSchema = z.discriminatedUnion("kind", [
  raftResult,
  definitionsResult,
  nodeResult,
  volumeResult,
  dumpResult,
  imageResult,
  pauseResult,
  unpauseResult,
  watchResult,
  proveResult,
  restorePrepareResult,
  restoreVolumeResult,
  restoreLoadResult,
  restoreImageResult,
  restoreListResult,
  restoreUndoResult,
  restoreDiscardResult,
  holdResult,
  releaseResult,
  rollbackResult,
]);
export type TaskResult = z.infer<typeof taskResultSchema>;
export type TaskResultOf<K extends TaskKind> = Extract<TaskResult, { kind: K }>;
