// Names of the queues, and what an agent and the controller say to each other on them besides jobs.
import { createHash } from "node:crypto";
import { z } from "zod";
import { writerIdPattern } from "../repository/layout.ts";
import { signedSchema } from "../repository/signature.ts";

/** Prefix of all of BullMQ's keys in Redis. */
export const queuePrefix = "skep";

export const queueNames = {
  /** Runs, restores and their steps: taken by the controller. */
  controller: "controller",
  /** Jobs that any manager's agent may take. */
  managers: "managers",
  /** Jobs of one node's agent. */
  node: (nodeId: string): string => `node-${nodeId}`,
  /** Agents asking for their writer key: taken by the controller. */
  enrolment: "enrolment",
} as const;

/** How many volumes one agent reads at once: the controller hands it no more. */
export const volumesAtOnce = 2;

export const enrolmentRequestSchema = z.strictObject({
  nodeId: z.string().regex(writerIdPattern),
  hostname: z.string().max(255),
  /** age recipient that the agent made at its first start; trusted on first use. */
  recipient: z.string().regex(/^age1[0-9a-z]{20,4000}$/),
  skepVersion: z.string().max(64),
});
export type EnrolmentRequest = z.infer<typeof enrolmentRequestSchema>;

/** Shown to people on both sides, to compare: `SHA256:` and base64 of SHA-256 over the recipient's text, unpadded. */
export function fingerprintOf(recipient: string): string {
  return `SHA256:${createHash("sha256").update(recipient).digest("base64").replace(/=+$/, "")}`;
}

/** The answer; what is secret in it is encrypted to the agent's recipient. */
export const enrolmentAnswerSchema = z.strictObject({
  /** The signed repository object; the agent checks it with the root public key that it pins. */
  repository: signedSchema,
  /** Signed by the controller ("skep/v1 job"): JSON { nodeId, recipient, sealedWriterKey (age, base64), issuedAt }. */
  grant: signedSchema,
});
export type EnrolmentAnswer = z.infer<typeof enrolmentAnswerSchema>;

export const enrolmentGrantSchema = z.strictObject({
  nodeId: z.string().regex(writerIdPattern),
  recipient: z.string(),
  sealedWriterKey: z.base64().max(8192),
  issuedAt: z.iso.datetime(),
});

/** `skep:agent:<node>` in Redis, renewed every 5 s, gone 20 s after the last; a cache for people, trusted by nothing. */
export const agentKey = (nodeId: string): string => `${queuePrefix}:agent:${nodeId}`;
export const heartbeatSeconds = { every: 5, expires: 20 } as const;

export const heartbeatSchema = z.strictObject({
  nodeId: z.string().regex(writerIdPattern),
  hostname: z.string().max(255),
  role: z.enum(["manager", "worker", "standalone"]),
  leader: z.boolean(),
  skepVersion: z.string().max(64),
  engineVersion: z.string().max(64),
  at: z.iso.datetime(),
  /** What stands in the way of a backup on this node, for `skep doctor`. */
  problems: z.array(z.string().max(1024)).max(100),
});
export type Heartbeat = z.infer<typeof heartbeatSchema>;
