// A job as it lies in the queue: signed by the controller. Whoever gets at Redis can make no agent act. And an
// agent's result as it goes back: authenticated with a key that only that agent and the controller can derive.
import { createHmac, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { base64Bytes } from "../base64-bytes.ts";
import { SkepError } from "../errors.ts";
import { shapeFaults } from "../fault-list.ts";
import { parseJsonText } from "../json-text.ts";
import type { KeyBytes } from "../repository/keys.ts";
import { signedSchema, signPayload, verifyPayload, type Signed } from "../repository/signature.ts";
import { jobSchema, type Job } from "./job.ts";
import { taskResultSchema, type TaskResult } from "./task-result.ts";

export function signJob(job: Job, controllerPrivateKey: string): Signed {
  return signPayload("skep/v1 job", JSON.stringify(job), controllerPrivateKey);
}

export interface JobExpectation {
  controllerPublicKey: string;
  repositoryId: string;
  incarnation: number;
  nodeId: string;
  isManager: boolean;
  /** ms since 1970. */
  now: number;
}

/** How far the clocks of controller and agent may differ. */
const clockSkewMs = 5 * 60_000;

/** Throws SKEP_JOB_INVALID, SKEP_SIGNATURE_INVALID, SKEP_JOB_FOREIGN, SKEP_JOB_EXPIRED: all permanent. Repeats are the journal's matter. */
export function openJob(data: unknown, expected: JobExpectation): Job {
  const refuse = (code: "SKEP_JOB_INVALID" | "SKEP_JOB_FOREIGN" | "SKEP_JOB_EXPIRED", message: string): SkepError =>
    new SkepError({
      code,
      message,
      permanent: true,
      hint: "the job was not ordered by this cluster's controller for this node, now",
    });
  const signed = signedSchema.safeParse(data);
  if (!signed.success) throw refuse("SKEP_JOB_INVALID", "a job in the queue is not signed");
  const payload = verifyPayload("skep/v1 job", signed.data, expected.controllerPublicKey, "a job in the queue");
  const parsed = jobSchema.safeParse(parseJsonText(payload));
  if (!parsed.success)
    throw new SkepError({
      code: "SKEP_JOB_INVALID",
      message: `a signed job has another shape: ${shapeFaults(parsed.error)}`,
      permanent: true,
      hint: "agent and controller are of different versions: update both, then order it anew",
    });
  const job = parsed.data;
  if (job.repositoryId !== expected.repositoryId)
    throw refuse("SKEP_JOB_FOREIGN", `job ${job.id} is for repository ${job.repositoryId}`);
  if (job.incarnation !== expected.incarnation) {
    throw refuse(
      "SKEP_JOB_FOREIGN",
      `job ${job.id} is for incarnation ${job.incarnation}, this is ${expected.incarnation}`,
    );
  }
  if (job.target.kind === "node" && job.target.nodeId !== expected.nodeId) {
    throw refuse("SKEP_JOB_FOREIGN", `job ${job.id} is for node ${job.target.nodeId}, this is ${expected.nodeId}`);
  }
  if (job.target.kind === "managers" && !expected.isManager) {
    throw refuse("SKEP_JOB_FOREIGN", `job ${job.id} is for a manager, ${expected.nodeId} is none`);
  }
  if (Date.parse(job.expiresAt) <= expected.now)
    throw refuse("SKEP_JOB_EXPIRED", `job ${job.id} expired at ${job.expiresAt}`);
  if (Date.parse(job.issuedAt) > expected.now + clockSkewMs) {
    throw refuse(
      "SKEP_JOB_EXPIRED",
      `job ${job.id} was issued at ${job.issuedAt}, which is in the future here: compare the clocks`,
    );
  }
  return job;
}

export const sealedResultSchema = z.strictObject({
  payload: z.string().max(256 * 1024 * 1024),
  /** HMAC-SHA256 with the writer's result key over "skep/v1 result", NUL, writer id, NUL, payload; base64. */
  mac: base64Bytes(32),
  writerId: z.string().max(64),
});
export type SealedResult = z.infer<typeof sealedResultSchema>;

export const resultPayloadSchema = z.strictObject({ jobId: z.string().max(128), result: taskResultSchema });

function macOf(payload: string, writerId: string, resultKey: KeyBytes): Buffer {
  return createHmac("sha256", resultKey).update(`skep/v1 result\0${writerId}\0${payload}`, "utf8").digest();
}

export function sealResult(jobId: string, result: TaskResult, writerId: string, resultKey: KeyBytes): SealedResult {
  const payload = JSON.stringify({ jobId, result });
  return { payload, mac: macOf(payload, writerId, resultKey).toString("base64"), writerId };
}

/** `resultKeyOf` derives the key of the writer that the result claims to come from. Throws SKEP_RESULT_INVALID. */
export function openResult(
  data: unknown,
  jobId: string,
  resultKeyOf: (writerId: string) => KeyBytes,
): { writerId: string; result: TaskResult } {
  const refuse = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_RESULT_INVALID",
      message: `the result of job ${jobId} ${why}`,
      permanent: true,
      hint: "somebody other than the node's agent wrote to the queue, or agent and controller are of different versions",
    });
  const sealed = sealedResultSchema.safeParse(data);
  if (!sealed.success) throw refuse("is not authenticated");
  const { payload, mac, writerId } = sealed.data;
  if (!timingSafeEqual(macOf(payload, writerId, resultKeyOf(writerId)), Buffer.from(mac, "base64"))) {
    throw refuse(`is not from ${writerId}, whom it names`);
  }
  const parsed = resultPayloadSchema.safeParse(parseJsonText(payload));
  if (!parsed.success) throw refuse(`has another shape: ${shapeFaults(parsed.error)}`);
  if (parsed.data.jobId !== jobId) throw refuse(`belongs to job ${parsed.data.jobId}`);
  return { writerId, result: parsed.data.result };
}
