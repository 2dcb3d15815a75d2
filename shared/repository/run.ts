// The run object: what one run covered, what it left out and why, and where it lies. Signed by the controller,
// sealed by the catalogue key, written last: a run that has none does not count. Each run names the sequence
// number before its own and that object's digest, so that a removed or replaced run shows.
import { z } from "zod";
import { longestHint, longestMessage } from "../errors.ts";
import { raftProofSchema } from "../raft/proof.ts";
import { digestPattern, repositoryIdPattern, runIdPattern, writerIdPattern } from "./layout.ts";

const time = z.iso.datetime();
const bytes = z.int().min(0);

export const errorRecordSchema = z.strictObject({
  code: z.templateLiteral(["SKEP_", z.string().regex(/^[A-Z0-9_]{1,64}$/)]),
  message: z.string().max(longestMessage),
  permanent: z.boolean(),
  hint: z.string().max(longestHint).optional(),
});

export const storedObjectSchema = z.strictObject({
  key: z.string().max(512),
  sizeBytes: bytes,
  /** BLAKE3-256 of the object's bytes. */
  digest: z.string().regex(digestPattern),
  /** Where the store has versions: the version that counts. */
  versionId: z.string().max(1024).nullable(),
});
export type StoredObject = z.infer<typeof storedObjectSchema>;

export const partKinds = ["raft", "definitions", "volume", "bind", "image", "dump", "node", "runbook"] as const;

export const warningSchema = z.strictObject({
  code: z.string().regex(/^SKEP_[A-Z0-9_]{1,64}$/),
  message: z.string().max(16384),
});
export type Warning = z.infer<typeof warningSchema>;

export const partTotalsSchema = z.strictObject({
  files: bytes,
  directories: bytes,
  /** Symlinks, devices, fifos. */
  others: bytes,
  /** Plain bytes of the source as it would be restored. */
  sourceBytes: bytes,
  /** Plain bytes of chunks that were not there before. */
  newBytes: bytes,
  /** Bytes put into the store by this part, all objects together. */
  storedBytes: bytes,
});
export type PartTotals = z.infer<typeof partTotalsSchema>;

export const volumeFactsSchema = z.strictObject({
  name: z.string().max(1024),
  driver: z.string().max(1024),
  /** Values of options that look like passwords are replaced by "[redacted]". */
  options: z.record(z.string(), z.string()),
  labels: z.record(z.string(), z.string()),
  scope: z.enum(["local", "global"]),
});
export type VolumeFacts = z.infer<typeof volumeFactsSchema>;

/** An image as an engine has it. */
export const imageFactsSchema = z.strictObject({
  /** The engine's id of it, `sha256:…`: a digest of what it is. */
  id: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  /** As services and containers name it, and its tags: `app:1`. */
  names: z.array(z.string().max(1024)).max(1000),
  /** As registries know it: `registry.example.org/app@sha256:…`. None where no registry gave it. */
  digests: z.array(z.string().max(1024)).max(1000),
  architecture: z.string().max(64),
  os: z.string().max(64),
});
export type ImageFacts = z.infer<typeof imageFactsSchema>;

/** One command that ran in a container for a run, or for a restore. Its output is cut and redacted. */
export const commandRecordSchema = z.strictObject({
  step: z.enum(["hook.pre", "hook.post", "dump", "load"]),
  container: z.string().max(1024),
  /** Null where it did not end by itself. */
  exitCode: z.int().nullable(),
  /** Its last 4 KiB. */
  stderr: z.string().max(8192),
  /** The last 1 KiB of the standard output of one that failed and wrote nothing to stderr; never of a dump that did not end by itself. */
  stdout: z.string().max(4096).optional(),
});
export type CommandRecord = z.infer<typeof commandRecordSchema>;

export const partSchema = z.strictObject({
  kind: z.enum(partKinds),
  /** `raft`, `definitions`, `runbook`, HOSTNAME for a node, HOSTNAME/NAME for a volume, what a service calls it for an image. */
  name: z.string().max(2048),
  nodeId: z.string().regex(writerIdPattern),
  hostname: z.string().max(255),
  status: z.enum(["done", "partial", "failed"]),
  startedAt: time,
  endedAt: time,
  attempt: z.int().min(1),
  /** Why it failed, or is partial. */
  error: errorRecordSchema.optional(),
  /** What the part's command wrote to stderr, its last 4 KiB. */
  stderr: z.string().max(8192).optional(),
  warnings: z.array(warningSchema).max(1000),
  /** More warnings than are listed. */
  warningsLeftOut: z.int().min(0),
  totals: partTotalsSchema.optional(),
  epoch: z.int().min(1).optional(),
  /** The pieces of one archive, in order (archive-writer.ts). */
  archive: z.array(storedObjectSchema).min(1).max(1024).optional(),
  manifest: storedObjectSchema.optional(),
  refs: storedObjectSchema.optional(),
  volume: volumeFactsSchema.optional(),
  image: imageFactsSchema.optional(),
  /** `not-atomic`: read while it may have changed. `quiet`: nothing wrote while it was read. `atomic`: what a power loss would have left. */
  consistency: z.enum(["not-atomic", "quiet", "atomic"]).optional(),
  /** How the filesystem kept its content while it was read; absent where the volume itself was read. */
  moment: z.enum(["btrfs", "reflink"]).optional(),
  /** What was stopped or paused for it, and for how long: from the order to be quiet to the order to go on. */
  quiet: z
    .array(z.strictObject({ name: z.string().max(1024), how: z.enum(["pause", "stop"]), quietMs: z.int().min(0) }))
    .max(10_000)
    .optional(),
  /** Hooks and dumps that ran for it. */
  commands: z.array(commandRecordSchema).max(1000).optional(),
  /** Of a dump: the command that takes it back on its standard input, in which container. */
  load: z
    .strictObject({
      argv: z.array(z.string().max(16_384)).min(1).max(256),
      container: z.string().max(255).nullable(),
      /** Where no container was named: the container or service whose label it is. */
      saidBy: z.string().max(1024).optional(),
      user: z.string().max(255).nullable(),
      /** How long it may take; absent: four hours. */
      timeoutSeconds: z.int().min(1).max(86_400).optional(),
    })
    .optional(),
  raft: raftProofSchema.optional(),
});
export type Part = z.infer<typeof partSchema>;

export const notCoveredSchema = z.strictObject({
  kind: z.enum([...partKinds, "plugin"]),
  name: z.string().max(2048),
  hostname: z.string().max(255).optional(),
  reason: z.enum([
    "node-down",
    "no-agent",
    "not-selected",
    "bind-mount",
    "taken-elsewhere",
    "unsupported",
    "tmpfs",
    // Of images: a registry gives it; no node has it.
    "pullable",
    "absent",
  ]),
  /** For people: e.g. "taken on node1, which shares it". */
  message: z.string().max(4096),
});
export type NotCovered = z.infer<typeof notCoveredSchema>;

export const runNodeSchema = z.strictObject({
  id: z.string().regex(writerIdPattern),
  hostname: z.string().max(255),
  role: z.enum(["manager", "worker", "standalone"]),
  availability: z.enum(["active", "pause", "drain"]),
  state: z.string().max(64),
  address: z.string().max(255),
});
export type RunNode = z.infer<typeof runNodeSchema>;

export const runSchema = z.strictObject({
  format: z.literal(1),
  id: z.string().regex(runIdPattern),
  repositoryId: z.string().regex(repositoryIdPattern),
  incarnation: z.int().min(1),
  sequence: z.int().min(1),
  /** BLAKE3-256 of the bytes of the chain's entry before it, a run or an upkeep entry; null for the first. */
  previousDigest: z.string().regex(digestPattern).nullable(),
  /** Number of the upkeep entry that counted when it was written: its packs were looked for under that. Null: none. */
  upkeepSequence: z.int().min(1).nullable(),
  /** `done`: all that was selected is covered. `partial`: not all. `failed`: no Raft copy, or nothing. */
  status: z.enum(["done", "partial", "failed"]),
  trigger: z.enum(["schedule", "command", "standalone"]),
  schedule: z.string().max(200).nullable(),
  policyVersion: z.int().min(1).nullable(),
  startedAt: time,
  endedAt: time,
  skepVersion: z.string().max(64),
  /** Null on a standalone host. */
  clusterId: z.string().max(64).nullable(),
  nodes: z.array(runNodeSchema).max(10000),
  parts: z.array(partSchema).max(200000),
  notCovered: z.array(notCoveredSchema).max(200000),
  /** E.g. that agents' credentials could destroy backups. */
  warnings: z.array(warningSchema).max(1000),
});
export type Run = z.infer<typeof runSchema>;
