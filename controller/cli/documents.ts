// What each command prints with --json (`skep restore …`: restore-documents.ts): a contract. Fields may be added, never renamed or removed.
// On an error every command prints { error } instead (apiErrorSchema's shape).
import { z } from "zod";
import { undoneSchema } from "../../shared/contract/keeper.ts";
import { repositoryIdPattern } from "../../shared/repository/layout.ts";
import { manifestEntrySchema } from "../../shared/repository/manifest.ts";
import { protectionSchema } from "../../shared/repository/protection.ts";
import { repositoryObjectSchema } from "../../shared/repository/repository-object.ts";
import { partSchema, runSchema } from "../../shared/repository/run.ts";
import { kitArchitectures } from "../../shared/repository/kit-list.ts";
import { publicKeySchema } from "../../shared/repository/signature.ts";
import { runsSchema } from "../api/schemas.ts";
import { policySchema } from "../policy.ts";
import type { RecoveryReport } from "../recovery/report.ts";

export const initDocument = z.strictObject({
  repositoryId: z.string().regex(repositoryIdPattern),
  rootPublicKey: publicKeySchema,
  store: z.string(),
  /** Absolute path of the kit folder, and its files. */
  kit: z.string(),
  identityFile: z.string(),
  files: z.array(z.string()),
});
export type InitDocument = z.infer<typeof initDocument>;

export const kitListDocument = z.strictObject({
  kits: z.array(
    z.strictObject({
      architecture: z.enum(kitArchitectures),
      skepVersion: z.string(),
      sha256: z.string(),
      sizeBytes: z.int(),
      /** Of the objects that, joined, are the kit. */
      keys: z.array(z.string()),
    }),
  ),
});
export type KitListDocument = z.infer<typeof kitListDocument>;

export const versionDocument = z.strictObject({
  skepVersion: z.string(),
  nodeVersion: z.string(),
  /** Null where no kit or address was given, or the controller was not reached. */
  controllerVersion: z.string().nullable(),
});
export type VersionDocument = z.infer<typeof versionDocument>;

export const policyCheckDocument = z.strictObject({ valid: z.literal(true), policy: policySchema });
export type PolicyCheckDocument = z.infer<typeof policyCheckDocument>;

/** skep runs. `faults`: objects under runs/ that do not open or do not fit the chain; exit code 3 then. `faultsLeftOut`: so many more. */
export const runsDocument = runsSchema.extend({
  faults: z.array(z.strictObject({ key: z.string(), code: z.string(), message: z.string() })),
  faultsLeftOut: z.int(),
});
export type RunsDocument = z.infer<typeof runsDocument>;

/** skep backup. `run` is null without --wait. */
export const backupDocument = z.strictObject({ runId: z.string(), run: runSchema.nullable() });
export type BackupDocument = z.infer<typeof backupDocument>;

/** skep resume. */
export const resumeDocument = undoneSchema;
export type ResumeDocument = z.infer<typeof resumeDocument>;

/** skep ls RUN. */
export const partsDocument = z.strictObject({
  runId: z.string(),
  takenAt: z.string(),
  parts: z.array(partSchema.pick({ kind: true, name: true, nodeId: true, hostname: true, status: true, totals: true })),
});
export type PartsDocument = z.infer<typeof partsDocument>;

/** An entry of a manifest, without where its content lies. */
export const entryDocument = manifestEntrySchema.omit({ extents: true, moreLines: true });
export type EntryDocument = z.infer<typeof entryDocument>;

/** Of documents that are written as they are read: what ended them early; the exit code says so too. */
const endedBy = z.strictObject({
  code: z.string(),
  message: z.string(),
  permanent: z.boolean(),
  hint: z.string().optional(),
});

/** skep ls RUN:NODE/VOLUME[:PATH]. */
export const entriesDocument = z.strictObject({
  runId: z.string(),
  takenAt: z.string(),
  volume: z.strictObject({ nodeId: z.string(), hostname: z.string(), name: z.string() }),
  entries: z.array(entryDocument),
  error: endedBy.optional(),
});
export type EntriesDocument = z.infer<typeof entriesDocument>;

const recipients = repositoryObjectSchema.shape.recipients;

/** skep recipient list. `version`: of the keys, raised by each change. */
export const recipientsDocument = z.strictObject({
  repositoryId: z.string(),
  version: z.int(),
  epoch: z.int(),
  recipients,
});
export type RecipientsDocument = z.infer<typeof recipientsDocument>;

/** skep recipient add and remove, skep key rotate: what counts now. `file`: a key file that was written. */
export const keyChangeDocument = z.strictObject({
  changed: z.boolean(),
  version: z.int(),
  epoch: z.int(),
  recipients,
  rootPublicKey: publicKeySchema,
  controllerPublicKey: publicKeySchema,
  file: z.string().nullable(),
});
export type KeyChangeDocument = z.infer<typeof keyChangeDocument>;

/** skep diff RUN:NODE/VOLUME[:PATH] RUN, one of `changes`. */
export const entryChangeDocument = z.strictObject({
  change: z.enum(["added", "removed", "changed"]),
  /** Words for what changed, e.g. `content`, `mode`; empty for what was added or removed. */
  what: z.array(z.string()),
  before: entryDocument.nullable(),
  after: entryDocument.nullable(),
});
export type EntryChangeDocument = z.infer<typeof entryChangeDocument>;
export const volumeDiffDocument = z.strictObject({
  before: z.string(),
  after: z.string(),
  volume: z.string(),
  changes: z.array(entryChangeDocument),
  error: endedBy.optional(),
});

/** skep diff RUN RUN, one of `volumes`; counts are of entries. */
export const volumeChangeDocument = z.strictObject({
  nodeId: z.string(),
  name: z.string(),
  change: z.enum(["added", "removed", "changed", "same"]),
  counts: z.strictObject({ added: z.int(), removed: z.int(), changed: z.int() }).nullable(),
});
export type VolumeChange = z.infer<typeof volumeChangeDocument>;
export const runDiffDocument = z.strictObject({
  before: z.string(),
  after: z.string(),
  volumes: z.array(volumeChangeDocument),
  error: endedBy.optional(),
});

/** skep export --out FILE. `tarBytes` as written. */
export const exportDocument = z.strictObject({
  runId: z.string(),
  out: z.string().nullable(),
  entries: z.int(),
  files: z.int(),
  tarBytes: z.int(),
});
export type ExportDocument = z.infer<typeof exportDocument>;

/** skep check. Exit code 1 where a finding is an error. */
export const checkDocument = z.strictObject({
  clean: z.boolean(),
  runs: z.int(),
  snapshots: z.int(),
  packs: z.int(),
  packBytes: z.int(),
  readPacks: z.int(),
  readBytes: z.int(),
  /** That no kept run needs. */
  unneededPacks: z.int(),
  unneededBytes: z.int(),
  /** Of the chain. */
  newest: z.strictObject({ sequence: z.int(), digest: z.string() }).nullable(),
  findings: z.array(
    z.strictObject({
      level: z.enum(["error", "warning"]),
      code: z.string(),
      /** The object; null where it is no single one's. */
      key: z.string().nullable(),
      message: z.string(),
      /** `RUN:NODE/VOLUME`, or `RUN PART`. */
      hurts: z.array(z.string()),
    }),
  ),
  findingsLeftOut: z.int(),
});
export type CheckDocument = z.infer<typeof checkDocument>;

/** skep forget. */
export const forgetDocument = z.strictObject({
  kept: z.array(z.strictObject({ id: z.string(), keptFor: z.array(z.string()) })),
  forgotten: z.array(z.string()),
  dryRun: z.boolean(),
});
export type ForgetDocument = z.infer<typeof forgetDocument>;

/** skep compact. */
export const compactDocument = z.strictObject({
  dryRun: z.boolean(),
  /** False in a dry run, where nothing is mostly dead, and where it was not agreed to. */
  changed: z.boolean(),
  /** That a later prune frees. */
  packs: z.int(),
  packBytes: z.int(),
  /** What kept runs need of them. */
  liveBytes: z.int(),
  storedBytes: z.int(),
  /** Whose refs were written anew. */
  snapshots: z.int(),
});
export type CompactDocument = z.infer<typeof compactDocument>;

/** skep protect. Exit code 3 where a run is not protected. `fault`: none is. */
export const protectDocument = z.strictObject({
  dryRun: z.boolean(),
  lockDays: z.int(),
  fault: protectionSchema.shape.fault,
  runs: protectionSchema.shape.runs,
});
export type ProtectDocument = z.infer<typeof protectDocument>;

/** skep prune. Exit code 3 where packs that runs need are missing. */
export const pruneDocument = z.strictObject({
  dryRun: z.boolean(),
  keptRuns: z.int(),
  neededPacks: z.int(),
  neededBytes: z.int(),
  deletedPacks: z.int(),
  freedBytes: z.int(),
  deletedOthers: z.int(),
  /** Of packs that a later prune frees. */
  retiredBytes: z.int(),
  missing: z.array(z.string()),
});
export type PruneDocument = z.infer<typeof pruneDocument>;

/** skep recover inventory. */
export const recoverInventoryDocument = z.strictObject({
  runId: z.string(),
  /** Absolute path of the file. */
  inventory: z.string(),
  nodes: z.int(),
});
export type RecoverInventoryDocument = z.infer<typeof recoverInventoryDocument>;

/** skep recover plan, skep recover run --dry-run. An error among the findings makes the exit code 1. */
export const recoveryPlanDocument = z.strictObject({
  mode: z.string(),
  runId: z.string(),
  takenAt: z.string(),
  machines: z.array(
    z.strictObject({ name: z.string(), address: z.string(), role: z.string(), replaces: z.array(z.string()) }),
  ),
  gone: z.array(z.string()),
  /** When the state last changed; what was made later it does not know. */
  stateChangedAt: z.string().nullable(),
  /** Tasks that run now, and end since the state has them not. */
  newerTasks: z.array(
    z.strictObject({
      ...{ machine: z.string(), node: z.string(), taskId: z.string(), serviceId: z.string(), service: z.string() },
      startedAt: z.string(),
    }),
  ),
  findings: z.array(
    z.strictObject({ severity: z.enum(["error", "warning", "note"]), code: z.string(), text: z.string() }),
  ),
  steps: z.array(
    z.strictObject({
      id: z.string(),
      phase: z.string(),
      title: z.string(),
      after: z.array(z.string()),
      sizeBytes: z.int().nullable(),
      /** Rough. */
      estimatedMs: z.int(),
    }),
  ),
  /** From the first step to the last. */
  estimatedMs: z.int(),
});
export type RecoveryPlanDocument = z.infer<typeof recoveryPlanDocument>;

/** skep recover run. `report` is null while steps are left (--until, --only). */
export const recoveryRunDocument = z.strictObject({
  /** With journal, report.md and report.json. */
  folder: z.string(),
  left: z.array(z.string()),
  report: z.custom<RecoveryReport>().nullable(),
});
export type RecoveryRunDocument = z.infer<typeof recoveryRunDocument>;

/** skep runbook. */
export const runbookDocument = z.strictObject({
  runId: z.string(),
  /** Paths in the runbook's archive. */
  files: z.array(z.string()),
  /** Where they were written; null without --out. */
  folder: z.string().nullable(),
  /** Markdown. */
  text: z.string(),
});
export type RunbookDocument = z.infer<typeof runbookDocument>;
