// What crosses the queue and the standard input of agent/once.ts: one contract for both doors. A job names what
// to do, never a secret. Version 1; a reader refuses another.
import { z } from "zod";
import { base64Bytes } from "../base64-bytes.ts";
import { chosenFilesSchema } from "./chosen-files.ts";
import { serviceId } from "./found.ts";
import { repositoryIdPattern, runIdPattern, writerIdPattern } from "../repository/layout.ts";
import { imageFactsSchema, storedObjectSchema, volumeFactsSchema } from "../repository/run.ts";
import { signedSchema } from "../repository/signature.ts";
import { storeCredentials } from "../store/location.ts";

export const nodeId = z.string().regex(writerIdPattern);
const runId = z.string().regex(runIdPattern);
/** As Docker allows volume names; never a path. */
export const volumeNameSchema = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/);
export const restoreIdSchema = z.string().regex(/^[0-9a-z]{12}$/);

/** What of a node's volumes is selected; the policy's words. Globs of `*` and `?` on the volume's name. */
export const volumeSelectionSchema = z.strictObject({
  include: z.array(z.string().min(1).max(255)).max(1000),
  exclude: z.array(z.string().min(1).max(255)).max(1000),
});

/** Some 40 kB in each job; the newest count, others are caught by the commit. */
export const maxAbsentPacks = 2000;

const raftTask = z.strictObject({ kind: z.literal("raft"), runId });
const definitionsTask = z.strictObject({ kind: z.literal("definitions"), runId });
const nodeTask = z.strictObject({ kind: z.literal("node"), runId });

/** Run by docker exec in a container that is found by name, or by the volume that it uses. */
export const commandSchema = z.strictObject({
  volume: volumeNameSchema,
  argv: z.array(z.string().max(16_384)).min(1).max(256),
  /** Name of a container or of a service; null: the first that uses the volume, all of it. */
  container: z.string().max(255).nullable(),
  /** The container or service whose label it is. Where nobody named a container: the first of these that uses the volume. */
  saidBy: z.string().max(1024).optional(),
  /** Null: the container's own. */
  user: z.string().max(255).nullable(),
  timeoutSeconds: z.int().min(1).max(86_400),
});
export type ContainerCommand = z.infer<typeof commandSchema>;
const hookSchema = commandSchema.extend({ onError: z.enum(["fail", "continue"]) });

/** What is to be quiet while it is read: checked before, throughout and after. */
const quietSchema = z.strictObject({ how: z.enum(["pause", "stop"]), id: restoreIdSchema });

const volumeTask = z.strictObject({
  kind: z.literal("volume"),
  runId,
  volume: volumeNameSchema,
  quiet: quietSchema.nullable(),
  /** Paths to leave out, globs relative to the volume's root (`**` crosses folders). */
  excludePaths: z.array(z.string().min(1).max(4096)).max(1000),
  /** 0: no limit. */
  maxBytesPerSecond: z.int().min(0),
  /** First 16 digits of packs of this node that a prune retired or gave up: the agent's cache forgets them. */
  absentPacks: z
    .array(z.string().regex(/^[0-9a-f]{16}$/))
    .max(maxAbsentPacks)
    .optional(),
});

/** The output of a command instead of a volume's files. */
const dumpTask = z.strictObject({
  kind: z.literal("dump"),
  runId,
  command: commandSchema,
  /** How it is given back, kept with it; null where nobody said. */
  load: commandSchema.nullable(),
  maxBytesPerSecond: z.int().min(0),
  absentPacks: volumeTask.shape.absentPacks,
});

/** An image of this node's engine, as `docker save` gives it. */
const imageTask = z.strictObject({
  kind: z.literal("image"),
  runId,
  imageId: imageFactsSchema.shape.id,
  names: imageFactsSchema.shape.names,
  /** Only if no registry gives it without credentials: else the part comes without content. */
  unlessPullable: z.boolean(),
  maxBytesPerSecond: z.int().min(0),
  absentPacks: volumeTask.shape.absentPacks,
});

export const mostMoments = 16; // of one pause: each is taken by a thread of its own, all at once
/** On one node: run what is to be run before, then stop and freeze the containers that use these volumes; written down before in the agent's journal. */
const pauseTask = z.strictObject({
  kind: z.literal("pause"),
  pauseId: restoreIdSchema,
  volumes: z.array(volumeNameSchema).max(10_000),
  /** Whose containers are stopped, as far as they belong to no service: services are held. */
  stops: z.array(volumeNameSchema).max(10_000).optional(),
  before: z.array(hookSchema).max(1000),
  /** All that is to be taken within this pause, all of it here: where the filesystem gives a moment of each, they go on at once. */
  moments: z
    .array(volumeTask.pick({ volume: true, excludePaths: true }))
    .max(mostMoments)
    .optional(),
  deadlineAt: z.iso.datetime(), // unpaused by the agent itself after this
});
const unpauseTask = z.strictObject({
  kind: z.literal("unpause"),
  pauseId: restoreIdSchema,
  after: z.array(hookSchema).max(1000),
  /** How long the containers that these run in may take to be back, where they were stopped. */
  backSeconds: z.int().min(0).max(3600).optional(),
});

/** On a node that shares volumes which another one reads: see from now on that nothing here uses them. */
const watchTask = z.strictObject({
  kind: z.literal("watch"),
  watchId: restoreIdSchema,
  volumes: z.array(z.strictObject({ volume: volumeNameSchema, how: quietSchema.shape.how })).max(10_000),
  /** Given up after this. */
  deadlineAt: z.iso.datetime(),
});
const proveTask = z.strictObject({ kind: z.literal("prove"), watchId: restoreIdSchema });

/** First half of a restore: is there room, is the volume free, and a one-time recipient for the file keys. */
const restorePrepareTask = z.strictObject({
  kind: z.literal("restore-prepare"),
  restoreId: restoreIdSchema,
  /** The volume as it was when it was taken: made anew with these where it is missing. */
  volume: volumeFactsSchema,
  targetName: volumeNameSchema,
  /** Plain bytes that the restore will write. */
  sourceBytes: z.int().min(0),
  /** Of a dump: it goes to this command, and into no volume by itself. */
  load: commandSchema.optional(),
  files: chosenFilesSchema.optional(),
});
/** What the controller signed when the restore was asked for: an agent keeps it and gives it back, unread. */
export const restoreOrder = signedSchema.extend({ payload: z.string().max(1024 * 1024) });
const restoreVolumeTask = z.strictObject({
  kind: z.literal("restore-volume"),
  restoreId: restoreIdSchema,
  volume: volumeFactsSchema,
  targetName: volumeNameSchema,
  sourceBytes: z.int().min(0),
  manifest: storedObjectSchema,
  refs: storedObjectSchema,
  /** Who wrote the snapshot: its chunk names are keyed by that writer. */
  writerId: nodeId,
  /** age file, base64: sealedRestoreKeysSchema encrypted to the one-time recipient of the first half. */
  sealedKeys: z.base64().max(64 * 1024 * 1024),
  /** Without a controller there is none. */
  order: restoreOrder.optional(),
  files: chosenFilesSchema.optional(),
});
/** Gives a dump to the standard input of a command in a running container: once, for nothing takes that back. */
const restoreLoadTask = z.strictObject({
  kind: z.literal("restore-load"),
  restoreId: restoreIdSchema,
  command: commandSchema,
  ...restoreVolumeTask.pick({ sourceBytes: true, manifest: true, refs: true, writerId: true, sealedKeys: true }).shape,
});
/** Gives an image of a run to this node's engine, as `docker load` does. Only over standard input, with its keys. */
const restoreImageTask = z.strictObject({
  kind: z.literal("restore-image"),
  image: imageFactsSchema,
  sourceBytes: z.int().min(0),
  manifest: storedObjectSchema,
  refs: storedObjectSchema,
  writerId: nodeId,
});
/** Which restores are in place here with their former content kept: asked after a loss of Redis. */
const restoreListTask = z.strictObject({ kind: z.literal("restore-list") });
const restoreUndoTask = z.strictObject({ kind: z.literal("restore-undo"), restoreId: restoreIdSchema });
const restoreDiscardTask = z.strictObject({ kind: z.literal("restore-discard"), restoreId: restoreIdSchema });

/** On a manager: stop these services and wait until their tasks are gone everywhere; what they were is kept in labelled Docker configs. */
const holdTask = z.strictObject({
  kind: z.literal("hold"),
  holdId: restoreIdSchema,
  serviceIds: z.array(serviceId).min(1).max(1000),
  /** Released by whoever comes by after this, also without the controller. */
  deadlineAt: z.iso.datetime(),
  /** False: those that can't be held are skipped, and said. */
  allOrNone: z.boolean(),
  /** Volumes known to be seen by several nodes: a service may start anywhere with them. */
  sharedVolumes: z.array(volumeNameSchema).max(10_000),
});
/** On a manager: give held services back what they were, unless somebody changed them meanwhile. */
const releaseTask = z.strictObject({
  kind: z.literal("release"),
  holdId: restoreIdSchema,
  /** The hold may be in the making, by whatever manager's agent: it is to come to nothing. */
  forGood: z.boolean().optional(),
});
/** On a manager: what `docker service rollback` would do, had no hold come in between. */
const rollbackTask = z.strictObject({ kind: z.literal("rollback"), service: z.string().min(1).max(1024) });

export const taskSchema = z.discriminatedUnion("kind", [
  raftTask,
  definitionsTask,
  nodeTask,
  volumeTask,
  dumpTask,
  imageTask,
  pauseTask,
  unpauseTask,
  watchTask,
  proveTask,
  restorePrepareTask,
  restoreVolumeTask,
  restoreLoadTask,
  restoreImageTask,
  restoreListTask,
  restoreUndoTask,
  restoreDiscardTask,
  holdTask,
  releaseTask,
  rollbackTask,
]);
export type Task = z.infer<typeof taskSchema>;
export type TaskKind = Task["kind"];
export type TaskOf<K extends TaskKind> = Extract<Task, { kind: K }>;

export const jobTargetSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("node"), nodeId }),
  z.strictObject({ kind: z.literal("managers") }),
]);
export type JobTarget = z.infer<typeof jobTargetSchema>;

export const jobSchema = z.strictObject({
  version: z.literal(1),
  /** Also the job's id in BullMQ. */
  id: z.string().regex(/^[0-9a-z-]{1,128}$/),
  repositoryId: z.string().regex(repositoryIdPattern),
  incarnation: z.int().min(1),
  /** Of the repository object that it was ordered under: an agent that knows an older one asks for it first. */
  repositoryVersion: z.int().min(1).optional(),
  target: jobTargetSchema,
  issuedAt: z.iso.datetime(),
  /** Refused, and ended where it runs, after this. */
  expiresAt: z.iso.datetime(),
  /** How often an agent may accept it. */
  maxAttempts: z.int().min(1).max(10),
  task: taskSchema,
});
export type Job = z.infer<typeof jobSchema>;

/** Keys of one restore: age file keys (16 bytes, base64) by object; the writer's chunk-name key to prove chunks. */
export const restoreKeysSchema = z.strictObject({
  manifest: base64Bytes(16),
  /** By pack name. */
  packs: z.record(z.string(), base64Bytes(16)),
  chunkNameKey: base64Bytes(32),
  /** Opens the refs. */
  sealKey: base64Bytes(32),
  /** Of the store, where the agent's own may only create: for this restore alone, and never written down. */
  readCredentials: storeCredentials.optional(),
});
export type RestoreKeys = z.infer<typeof restoreKeysSchema>;
