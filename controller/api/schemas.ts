// What the controller's HTTPS API says and takes, version 1: one file for the side that answers and the side that
// asks. Every request but /v1/health carries `Authorization: Bearer <api.token>`; an error is { error: ErrorRecord }
// with a fitting status.
//
//   GET  /v1/health                        healthSchema, no token
//   GET  /v1/agents                        agentsSchema
//   POST /v1/agents/:nodeId/approve        approveAgentSchema → agentSchema
//   POST /v1/runs                          startRunSchema → 202 runStartedSchema; 409 SKEP_RUN_IN_PROGRESS names the other
//   GET  /v1/runs?limit=N                  runsSchema, newest first, running ones included
//   GET  /v1/runs/:id  (or `latest`)       runAnswerSchema
//   GET  /v1/policy                        policyAnswerSchema
//   PUT  /v1/policy    (YAML text)         policyAnswerSchema
//   GET  /v1/doctor                        findingsSchema
//   GET  /metrics                          text for Prometheus (metrics.ts)
//   POST /v1/restores                      startRestoreSchema → 202 restoreStartedSchema
//   GET  /v1/restores                      restoresSchema, newest first
//   GET  /v1/restores/:id                  restoreSchema
//   POST /v1/restores/:id/keys             restoreKeysRequestSchema → 202 restoreSchema
//   POST /v1/restores/:id/undo             {} → 202 restoreSchema
//   POST /v1/restores/:id/discard          {} → 202 restoreSchema; of a prepared one: it is dropped
//
// A restore: POST restores → `preparing` → `prepared` (the agent looked, nothing is held or changed yet, the operator
// is shown the plan) → POST keys → `restoring` (services are held where `stop` says so, released at the end) → `done`.
import { z } from "zod";
import { chosenFilesSchema } from "../../shared/contract/chosen-files.ts";
import { restoreIdSchema, volumeNameSchema } from "../../shared/contract/job.ts";
import { taskResultSchema } from "../../shared/contract/task-result.ts";
import { jobProgressSchema } from "../../shared/contract/job-progress.ts";
import { sealedResultSchema } from "../../shared/contract/signed-job.ts";
import { runIdPattern, writerIdPattern } from "../../shared/repository/layout.ts";
import { errorRecordSchema, partKinds, partTotalsSchema, runSchema } from "../../shared/repository/run.ts";

const nodeId = z.string().regex(writerIdPattern);
const runId = z.string().regex(runIdPattern);
const time = z.iso.datetime();
const count = z.int().min(0);

export const apiErrorSchema = z.strictObject({ error: errorRecordSchema });

export const healthSchema = z.strictObject({ ok: z.boolean(), skepVersion: z.string().max(64) });

/** What a person compares before trusting an agent's key: `SHA256:` and base64 of SHA-256 over the recipient's text. */
export const fingerprintSchema = z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/);

export const agentSchema = z.strictObject({
  nodeId,
  hostname: z.string().max(255),
  role: z.enum(["manager", "worker", "standalone"]),
  leader: z.boolean(),
  fingerprint: fingerprintSchema,
  /** `waiting`: this node's agent came back with another key than the enrolled one, and gets no job until approved. */
  state: z.enum(["enrolled", "waiting"]),
  enrolledAt: time.nullable(),
  /** Null: not since the controller began. */
  lastSeenAt: time.nullable(),
  skepVersion: z.string().max(64),
  engineVersion: z.string().max(64),
  problems: z.array(z.string().max(1024)).max(100),
});
export type Agent = z.infer<typeof agentSchema>;
export const agentsSchema = z.strictObject({ agents: z.array(agentSchema).max(10000) });
/** The key that was shown is the key that is approved, or none. */
export const approveAgentSchema = z.strictObject({ fingerprint: fingerprintSchema });

export const startRunSchema = z.strictObject({ schedule: z.string().min(1).max(200).optional() });
export const runStartedSchema = z.strictObject({ runId });

export const runSummarySchema = z.strictObject({
  id: runId,
  status: z.enum(["running", "done", "partial", "failed"]),
  trigger: z.enum(["schedule", "command", "standalone"]),
  schedule: z.string().max(200).nullable(),
  startedAt: time,
  endedAt: time.nullable(),
  parts: z.strictObject({ done: count, partial: count, failed: count }),
  notCovered: count,
  warnings: count,
  /** Sums over the parts, as far as they are known. */
  sourceBytes: count,
  storedBytes: count,
  /** Null where the policy asks for no locks, or the run was not looked at yet. `until`: all that it needs is locked. */
  protection: z.strictObject({ until: time.nullable(), fault: z.string().max(32_768).nullable() }).nullable(),
});
export type RunSummary = z.infer<typeof runSummarySchema>;
export const runsSchema = z.strictObject({ runs: z.array(runSummarySchema).max(10000) });

export const partProgressSchema = z.strictObject({
  kind: z.enum(partKinds),
  /** As a run's part: HOSTNAME/NAME for a volume. */
  name: z.string().max(2048),
  hostname: z.string().max(255),
  state: z.enum(["waiting", "running", "done", "partial", "failed"]),
  attempt: count,
  progress: jobProgressSchema.nullable(),
  totals: partTotalsSchema.optional(),
  error: errorRecordSchema.optional(),
});
export type PartProgress = z.infer<typeof partProgressSchema>;

export const runStages = ["starting", "raft", "snapshots", "release", "commit"] as const;
export const runProgressSchema = z.strictObject({
  id: runId,
  status: z.literal("running"),
  stage: z.enum(runStages),
  trigger: z.enum(["schedule", "command", "standalone"]),
  schedule: z.string().max(200).nullable(),
  startedAt: time,
  parts: z.array(partProgressSchema).max(200000),
});
export type RunProgress = z.infer<typeof runProgressSchema>;
export const runAnswerSchema = z.union([
  z.strictObject({ run: runSchema }),
  z.strictObject({ progress: runProgressSchema }),
]);
export type RunAnswer = z.infer<typeof runAnswerSchema>;

/** `policy` has the shape of controller/policy.ts. */
export const policyAnswerSchema = z.strictObject({ version: z.int().min(1), policy: z.unknown() });

export const findingSchema = z.strictObject({
  level: z.enum(["ok", "warning", "error"]),
  code: z.string().regex(/^SKEP_[A-Z0-9_]{1,64}$/),
  message: z.string().max(16384),
  hint: z.string().max(4096).optional(),
});
export type Finding = z.infer<typeof findingSchema>;
export const findingsSchema = z.strictObject({ findings: z.array(findingSchema).max(10000) });

export const startRestoreSchema = z.strictObject({
  runId,
  /** Where the snapshot was taken. */
  nodeId,
  volume: volumeNameSchema,
  toNodeId: nodeId,
  targetName: volumeNameSchema,
  /** Hold the services that use the volume, and release them afterwards. */
  stop: z.boolean(),
  /** Of a dump: in this container or service, instead of that of its labels. */
  loadInto: z.string().min(1).max(255).optional(),
  /** These alone, into the volume as it is; `sourceBytes` of them. Absent: all, in its place. */
  files: chosenFilesSchema.extend({ sourceBytes: z.int().min(0) }).optional(),
});
export type StartRestore = z.infer<typeof startRestoreSchema>;
export const restoreStartedSchema = z.strictObject({ restoreId: restoreIdSchema });

export const rolledBackSchema = z.strictObject({
  service: z.string().max(1024),
  /** True where a hold lay between the service and its previous spec. */
  fromRecord: z.boolean(),
});
export type RolledBack = z.infer<typeof rolledBackSchema>;

export const restoreStates = [
  "preparing",
  "prepared",
  "restoring",
  "done",
  "failed",
  "undoing",
  "undone",
  "discarding",
  "discarded",
] as const;
export const restoreSchema = z.strictObject({
  restoreId: restoreIdSchema,
  state: z.enum(restoreStates),
  runId,
  nodeId,
  volume: volumeNameSchema,
  toNodeId: nodeId,
  targetName: volumeNameSchema,
  stop: z.boolean(),
  startedAt: time,
  endedAt: time.nullable(),
  /** The agent's answer as it came, so that the CLI checks its MAC itself (openResult with this job id). */
  prepared: z.strictObject({ jobId: z.string().max(128), sealedResult: sealedResultSchema }).optional(),
  progress: jobProgressSchema.optional(),
  /** Of the last step that ended: restore-volume, restore-load, restore-undo or restore-discard. */
  result: taskResultSchema.optional(),
  error: errorRecordSchema.optional(),
  /** Names of services held now, and released at the end. */
  heldServices: z.array(z.string().max(1024)).max(1000),
});
export type Restore = z.infer<typeof restoreSchema>;
export const restoresSchema = z.strictObject({ restores: z.array(restoreSchema).max(10000) });
/** age file, base64: restoreKeysSchema encrypted to the one-time recipient of the first half. */
export const restoreKeysRequestSchema = z.strictObject({ sealedKeys: z.base64().max(64 * 1024 * 1024) });
