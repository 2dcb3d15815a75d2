// The children of flows: jobs in the agents' queues, whose parent is a job of the controller's own. Added, looked at,
// handed out, given up, and forgotten once their flow has ended; every call may be made twice.
//
// How children end without their agent (proven in test/controller/queue.test.ts):
//   - one that waits is removed, which releases its parent; why is written down first, in a hash beside the parent
//   - one that is active is failed with token "0", which asks for no lock, and is then in the parent's own record
import { UnrecoverableError, type Job, type Queue } from "bullmq";
import type { Redis } from "ioredis";
import { jobProgressSchema } from "../shared/contract/job-progress.ts";
import { queueNames, queuePrefix } from "../shared/contract/queues.ts";
import { decodeErrorMessage, encodeErrorMessage, toErrorRecord, type SkepError } from "../shared/errors.ts";
import { writerIdPattern } from "../shared/repository/layout.ts";
import { decodeFailure, type ChildOutcome, type ChildRef, type ChildView, type NewChild } from "./flow.ts";
import type { Failure } from "./run-plan.ts";

const days = 24 * 3_600_000;
const heldMs = 365 * days;
const abandonedSeconds = 30 * 24 * 3600;
const qualified = (queue: string): string => `${queuePrefix}:${queue}`;
const abandonedKey = (flowId: string): string => `${queuePrefix}:abandoned:${flowId}`;
/** Flows that are about to end, or have: their children are still to be forgotten. */
const endingKey = `${queuePrefix}:ending`;

export class FlowChildren {
  readonly #redis: Redis;
  readonly #queue: (name: string) => Queue;
  readonly #backoffMs: number;

  /** On somebody else's connection and queues, who closes them. `backoffMs`: first back-off of a child's next attempt; doubles. */
  constructor(redis: Redis, queue: (name: string) => Queue, backoffMs: number) {
    this.#redis = redis;
    this.#queue = queue;
    this.#backoffMs = backoffMs;
  }

  /** Those that are not there, never were and were not given up. */
  async add(flowId: string, children: readonly NewChild[]): Promise<void> {
    const abandoned = new Set(await this.#redis.hkeys(abandonedKey(flowId)));
    const known = await this.#exist(children);
    const byQueue = Map.groupBy(
      children.filter(({ id }, index) => known[index] !== true && !abandoned.has(id)),
      ({ queue }) => queue,
    );
    for (const [name, group] of byQueue) {
      await this.#queue(name).addBulk(
        group.map(({ id, data, attempts, kind = "job" }) => ({
          name: kind,
          data: data ?? { held: true },
          opts: {
            jobId: id,
            parent: { id: flowId, queue: qualified(queueNames.controller) },
            // A child that failed is one that has ended: the parent goes on, and finds it among its failures.
            ignoreDependencyOnFailure: true,
            attempts,
            backoff: { type: "exponential", delay: this.#backoffMs, jitter: 0.5 },
            stackTraceLimit: 0,
            // Kept until the flow has ended: one that is gone would be added, and done, again.
            removeOnComplete: false,
            removeOnFail: false,
            ...(data === null && { delay: heldMs }),
          },
        })),
      );
    }
  }

  async #exist(refs: readonly ChildRef[]): Promise<boolean[]> {
    return Promise.all(
      refs.map(async ({ queue, id }) => (await this.#redis.exists(`${qualified(queue)}:${id}`)) === 1),
    );
  }

  /** Outcomes so far, by child id. */
  async outcomes(job: Job): Promise<Map<string, ChildOutcome>> {
    const outcomes = new Map<string, ChildOutcome>();
    const abandoned = await this.#redis.hgetall(abandonedKey(job.id ?? ""));
    for (const [id, text] of Object.entries(abandoned)) {
      outcomes.set(id, { state: "failed", failure: decodeFailure(text) });
    }
    const failures = await job.getIgnoredChildrenFailures();
    for (const [key, reason] of Object.entries(failures)) {
      const ref = childOfKey(key);
      const child = (await this.#queue(ref.queue).getJob(ref.id)) as Job | undefined;
      const at = (ms: number | undefined): string => new Date(ms ?? job.timestamp).toISOString();
      const nodeId = child?.processedBy;
      outcomes.set(ref.id, {
        state: "failed",
        failure: {
          error: decodeErrorMessage(reason),
          attempts: Math.max(1, child?.attemptsMade ?? 1),
          startedAt: at(child?.processedOn ?? child?.finishedOn),
          endedAt: at(child?.finishedOn),
          nodeId: nodeId !== undefined && writerIdPattern.test(nodeId) ? nodeId : null,
        },
      });
    }
    const values = await job.getChildrenValues();
    for (const [key, value] of Object.entries(values)) {
      outcomes.set(childOfKey(key).id, { state: "done", value });
    }
    return outcomes;
  }

  /** Before the queue is told that a flow ended: whoever comes after a crash finds by this whose children to forget. */
  async noteEnding(flowId: string): Promise<void> {
    await this.#redis.sadd(endingKey, flowId);
  }

  /** Flows of which that was noted, whether they have ended or not. */
  async ending(): Promise<string[]> {
    return this.#redis.smembers(endingKey);
  }

  /**
   * The children's jobs, and what the parent recorded of them; those that an agent works on end by themselves. Only of a
   * flow that has ended: one that is done again must find what its children did.
   */
  async forget(flowId: string): Promise<void> {
    const key = `${qualified(queueNames.controller)}:${flowId}`;
    const known = [this.#redis.hkeys(`${key}:processed`), this.#redis.hkeys(`${key}:failed`)];
    const keys = (await Promise.all([...known, this.#redis.smembers(`${key}:dependencies`)])).flat();
    for (let from = 0; from < keys.length; from += 100) {
      await Promise.all(
        keys.slice(from, from + 100).map((child) => {
          const { queue, id } = childOfKey(child);
          return this.#queue(queue).remove(id);
        }),
      );
    }
    await this.#redis.del(`${key}:processed`, `${key}:failed`, abandonedKey(flowId));
    await this.#redis.srem(endingKey, flowId);
  }

  /** Children that have not ended. */
  async pending(flowId: string): Promise<ChildRef[]> {
    const keys = await this.#redis.smembers(`${qualified(queueNames.controller)}:${flowId}:dependencies`);
    return keys.map(childOfKey);
  }

  async look(refs: readonly ChildRef[]): Promise<ChildView[]> {
    return Promise.all(refs.map((ref) => this.#child(ref)));
  }

  async #child({ queue, id }: ChildRef): Promise<ChildView> {
    const job = (await this.#queue(queue).getJob(id)) as Job | undefined;
    if (job === undefined) return { queue, id, state: "missing", data: null, attempts: 0, progress: null };
    const data: unknown = job.data;
    const progress = jobProgressSchema.safeParse(job.progress).data ?? null;
    const view = { queue, id, data, attempts: job.attemptsMade, progress };
    const state = await job.getState();
    if (state === "completed" || state === "failed") return { ...view, state: "ended" };
    if (state === "delayed" && isHeld(job)) return { ...view, state: "held" };
    // Absent, whatever BullMQ's types say, where no attempt failed: an agent gave the job back.
    const reason = job.failedReason as string | undefined;
    if (state === "delayed" && reason !== undefined)
      return { ...view, state: "retrying", failure: decodeErrorMessage(reason) };
    if (state !== "active") return { ...view, state: "waiting" };
    const locked = (await this.#redis.exists(`${qualified(queue)}:${id}:lock`)) === 1;
    return { ...view, state: locked ? "active" : "abandoned-by-agent" };
  }

  /** Hands a held child to its agent. No harm in doing it twice. */
  async dispatch(ref: ChildRef, data: object): Promise<void> {
    const job = (await this.#queue(ref.queue).getJob(ref.id)) as Job | undefined;
    if (job === undefined || !(await job.isDelayed()) || !isHeld(job)) return;
    await job.updateData(data);
    await job.promote();
  }

  /** Ends a child without its agent: its flow goes on, with this failure. An agent that still works on it is not heard any more. */
  async abandon(flowId: string, ref: ChildRef, error: SkepError): Promise<void> {
    const queue = this.#queue(ref.queue);
    const job = (await queue.getJob(ref.id)) as Job | undefined;
    if (job !== undefined && (await job.isActive())) {
      await job.moveToFailed(new UnrecoverableError(encodeErrorMessage(error)), "0");
      return;
    }
    const now = new Date().toISOString();
    const failure: Failure = {
      error: toErrorRecord(error),
      attempts: Math.max(1, job?.attemptsMade ?? 0),
      startedAt: job?.processedOn === undefined ? now : new Date(job.processedOn).toISOString(),
      endedAt: now,
      nodeId: null,
    };
    await this.#redis.hset(abandonedKey(flowId), ref.id, JSON.stringify(failure));
    await this.#redis.expire(abandonedKey(flowId), abandonedSeconds);
    // Without its job, only a job of that name releases the parent.
    if (job === undefined) {
      const parent = { id: flowId, queue: qualified(queueNames.controller) };
      const opts = { jobId: ref.id, parent, ignoreDependencyOnFailure: true, delay: heldMs };
      await queue.add("job", { held: true }, opts);
    }
    // 0 where an agent took it just now: then it is looked at again.
    await queue.remove(ref.id);
  }
}

/** `skep:<queue>:<id>`: neither has a colon. */
function childOfKey(key: string): ChildRef {
  const [, queue = "", id = ""] = key.split(":");
  return { queue, id };
}

/** By its delay, which promoting ends: not by its data, which has the order before that. */
function isHeld(job: Job): boolean {
  return job.delay >= heldMs;
}
