// When a child is given up, and which held ones go out next: decisions, as pure functions.
import { createHash } from "node:crypto";
import { z } from "zod";
import { jobSchema } from "../shared/contract/job.ts";
import { SkepError } from "../shared/errors.ts";
import { signedSchema } from "../shared/repository/signature.ts";
import type { ChildView } from "./flow.ts";

/** The agent itself ends a job at its expiry; it has this long to say so, ms. */
const sayingMs = 30_000;

/** ms since 1970; null for what is no job of ours. */
export function expiryOf(data: unknown): number | null {
  const signed = signedSchema.safeParse(data);
  if (!signed.success) return null;
  try {
    const job = z.object({ expiresAt: jobSchema.shape.expiresAt }).parse(JSON.parse(signed.data.payload));
    return Date.parse(job.expiresAt);
  } catch {
    return null;
  }
}

/**
 * Why a child that has not ended is given up; null where it is not. `silentMs`: since when nothing was heard of the
 * agents that could take it.
 */
export function giveUp(child: ChildView, silentMs: number, graceMs: number, now: number): SkepError | null {
  const { state, id, queue } = child;
  if (state === "missing" || state === "ended") {
    return new SkepError({
      code: "SKEP_JOB_LOST",
      message: `the queue lost job ${id} before its end was noted`,
      permanent: false,
      hint: "somebody removed it from Redis, or Redis lost data: the next run does it again",
    });
  }
  if (state !== "active" && silentMs >= graceMs) {
    const seconds = `for ${Math.round(silentMs / 1000)} s`;
    const agent = queue.startsWith("node-") ? `the agent of node ${queue.slice(5)}` : "a manager's agent";
    return new SkepError({
      code: "SKEP_AGENT_GONE",
      message: `${agent} was ${silentMs === Infinity ? "never heard" : `not heard ${seconds}`}`,
      permanent: false,
      hint: "see with `skep agents` and `docker service ps skep_agent` why it does not run",
    });
  }
  if (state === "held") return null;
  const expiry = expiryOf(child.data);
  if (expiry !== null && now <= expiry + sayingMs) return null;
  return new SkepError({
    code: "SKEP_JOB_TIMED_OUT",
    message:
      expiry === null
        ? `job ${id} has no readable expiry`
        : `job ${id} did not end by ${new Date(expiry).toISOString()}`,
    permanent: false,
    hint: "give jobs more time in the policy (limits.jobTimeoutMinutes), or look for what makes this one slow",
  });
}

export interface Dispatchable {
  id: string;
  nodeId: string;
}

/**
 * Which held jobs go out now. A node that is at work gets its next job as soon as one ends; a further node begins
 * when fewer than `nodesAtOnce` are at work and its moment within the jitter has come. Nodes come in an order that
 * is another one in each run.
 */
export function chooseNext(options: {
  held: readonly Dispatchable[];
  /** Jobs that are out and have not ended, by node. */
  out: ReadonlyMap<string, number>;
  nodesAtOnce: number;
  jobsPerNode: number;
  runId: string;
  /** ms: since the first node could begin, and over how long they are spread. */
  sinceMs: number;
  jitterMs: number;
}): string[] {
  const { held, out, nodesAtOnce, jobsPerNode, runId, sinceMs, jitterMs } = options;
  const chosen: string[] = [];
  const byNode = Map.groupBy(held, ({ nodeId }) => nodeId);
  const place = (nodeId: string): number =>
    createHash("sha256").update(`${runId} ${nodeId}`).digest().readUInt32BE(0) / 2 ** 32;
  let working = [...out.values()].filter((jobs) => jobs > 0).length;
  const nodes = [...byNode.keys()].sort((a, b) => place(a) - place(b));
  for (const nodeId of nodes) {
    const busy = out.get(nodeId) ?? 0;
    if (busy === 0) {
      if (working >= nodesAtOnce || place(nodeId) * jitterMs > sinceMs) continue;
      working++;
    }
    chosen.push(...(byNode.get(nodeId) ?? []).slice(0, Math.max(0, jobsPerNode - busy)).map(({ id }) => id));
  }
  return chosen;
}
