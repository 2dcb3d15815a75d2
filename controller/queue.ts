// The controller's door to BullMQ. A flow is a job of the controller's own queue, done in steps: a step adds
// children to the agents' queues and sleeps until all of them have ended. What a flow has to know after a crash is
// in its data and in the outcomes of its children; every call here may be made twice.
//
// How children end without their agent (proven in test/controller/queue.test.ts):
//   - one that waits is removed, which releases its parent; why is written down first, in a hash beside the parent
//   - one that is active is failed with token "0", which asks for no lock, and is then in the parent's own record
import { DelayedError, Queue, UnrecoverableError, WaitingChildrenError, Worker, type Job } from "bullmq";
import type { Redis } from "ioredis";
import { jobProgressSchema } from "../shared/contract/job.ts";
import { queueNames, queuePrefix } from "../shared/contract/queues.ts";
import { decodeErrorMessage, encodeErrorMessage, SkepError, toErrorRecord } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { writerIdPattern } from "../shared/repository/layout.ts";
import {
  boundedError,
  decodeFailure,
  type ChildOutcome,
  type ChildRef,
  type ChildView,
  type Flow,
  type FlowHandler,
  type FlowView,
  type NewChild,
} from "./flow.ts";
import { connectRedis, RedisSide, type RedisAddress } from "./redis.ts";
import type { Failure } from "./run-plan.ts";

/** ms. A flow whose controller died is taken up again after at most the lock and two looks. */
export interface QueueTimings {
  lockMs: number;
  stalledMs: number;
  /** First back-off of a child's next attempt; doubles. */
  childBackoffMs: number;
  /** Most that a flow waits before it tries again. */
  flowBackoffMs: number;
}
const defaultTimings: QueueTimings = { lockMs: 15_000, stalledMs: 5_000, childBackoffMs: 5_000, flowBackoffMs: 60_000 };

/** An API's caller waits for no more, ms. */
const answerMs = 3000;
const days = 24 * 3_600_000;
const heldMs = 365 * days;
const abandonedSeconds = 30 * 24 * 3600;
/** Ended flows that stay to be looked at; their children and outcomes go at once. */
const keptFlows = 200;
const qualified = (queue: string): string => `${queuePrefix}:${queue}`;
const abandonedKey = (flowId: string): string => `${queuePrefix}:abandoned:${flowId}`;

export class JobQueue {
  readonly #redis: Redis;
  /** Heartbeats and what is kept beside the queues. */
  readonly side: RedisSide;
  readonly #queues = new Map<string, Queue>();
  readonly #workers: { worker: Worker; redis: Redis }[] = [];
  /** Steps and answers under way, by queue and job. */
  readonly #inHand = new Map<string, Promise<object>>();
  readonly #renewals = new Set<NodeJS.Timeout>();
  readonly #address: RedisAddress;
  readonly #log: Logger;
  readonly #timings: QueueTimings;

  /** Connects by itself, again and again; close() it. */
  constructor(address: RedisAddress, log: Logger, timings: Partial<QueueTimings> = {}) {
    this.#address = address;
    this.#log = log;
    this.#timings = { ...defaultTimings, ...timings };
    this.#redis = connectRedis(address, "commands", log);
    this.side = new RedisSide(this.#redis);
  }

  /** False while there is no connection; what is asked then waits for one. */
  get ready(): boolean {
    return this.#redis.status === "ready";
  }

  /** Throws SKEP_QUEUE_UNREACHABLE where Redis does not answer in time, for whoever can't wait for it. */
  async reach(): Promise<void> {
    const timeout = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      timeout.reject(unreachable());
    }, answerMs);
    try {
      if (!this.ready) throw unreachable();
      await Promise.race([this.#redis.ping(), timeout.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #queue(name: string): Queue {
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = new Queue(name, { connection: this.#redis, prefix: queuePrefix });
      // The connection's own listener tells; without one here Node would end the process.
      queue.on("error", () => undefined);
      this.#queues.set(name, queue);
    }
    return queue;
  }

  /**
   * Opens a flow, once for each id. Of flows with the same `single` one at a time is open. The id of the flow that is
   * open now: its own, or that of the one in the way.
   */
  async openFlow(kind: string, id: string, data: object, single?: string): Promise<string> {
    const job = await this.#queue(queueNames.controller).add(kind, data, {
      jobId: id,
      ...(single !== undefined && { deduplication: { id: single } }),
      attempts: 100_000,
      backoff: { type: "capped" },
      stackTraceLimit: 0,
      removeOnComplete: { count: keptFlows },
      removeOnFail: { count: keptFlows },
    });
    return job.id ?? id;
  }

  /** Null where there is none. */
  async flow(id: string): Promise<FlowView | null> {
    const job = (await this.#queue(queueNames.controller).getJob(id)) as Job | undefined;
    return job === undefined ? null : viewOf(job);
  }

  /** All that Redis still knows, newest first. */
  async flows(kind: string): Promise<FlowView[]> {
    const jobs = (await this.#queue(queueNames.controller).getJobs()) as (Job | undefined)[];
    return jobs
      .filter((job) => job?.name === kind)
      .map((job) => viewOf(job as Job))
      .sort((a, b) => b.createdAt - a.createdAt);
  }

  /** Those that have not ended. */
  async openFlows(): Promise<FlowView[]> {
    const states = ["active", "waiting", "waiting-children", "delayed", "prioritized"] as const;
    const jobs = (await this.#queue(queueNames.controller).getJobs([...states])) as (Job | undefined)[];
    return jobs.filter((job) => job !== undefined).map(viewOf);
  }

  /** Outcomes of a flow's children so far, by child id. */
  async outcomes(flowId: string): Promise<Map<string, ChildOutcome>> {
    const job = (await this.#queue(queueNames.controller).getJob(flowId)) as Job | undefined;
    return job === undefined ? new Map() : this.#outcomes(job);
  }

  /** A flow that sleeps until later goes on now. */
  async wake(flowId: string): Promise<void> {
    const job = (await this.#queue(queueNames.controller).getJob(flowId)) as Job | undefined;
    if (job !== undefined && (await job.isDelayed())) await job.promote();
  }

  /** Changes what an open flow knows. */
  async updateFlow(flowId: string, data: object): Promise<void> {
    const job = (await this.#queue(queueNames.controller).getJob(flowId)) as Job | undefined;
    await job?.updateData(data);
  }

  /** One that has ended is gone, so that its id can be opened again; an open one stays. */
  async forgetEndedFlow(flowId: string): Promise<void> {
    const job = (await this.#queue(queueNames.controller).getJob(flowId)) as Job | undefined;
    if (job?.finishedOn !== undefined) await job.remove();
  }

  /** Takes flows, each by the handler of its kind, until close(). */
  serveFlows(handlers: Readonly<Record<string, FlowHandler>>): void {
    this.#serve(queueNames.controller, 50, async (job, token) => {
      try {
        const handler = handlers[job.name];
        if (handler === undefined) throw unknownKind(job.name);
        return await this.#steps(job, token, handler);
      } catch (error) {
        if (error instanceof WaitingChildrenError || error instanceof DelayedError) throw error;
        const record = toErrorRecord(error);
        this.#log[record.permanent ? "error" : "warn"]({ flow: job.id, kind: job.name, error: record }, record.message);
        if (!record.permanent) throw new Error(encodeErrorMessage(error), { cause: error });
        await this.#forgetChildren(job);
        throw new UnrecoverableError(encodeErrorMessage(error));
      }
    });
  }

  async #steps(job: Job, token: string, handler: FlowHandler): Promise<object> {
    for (;;) {
      if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
      const next = await handler(this.#flowOf(job));
      if (next.next === "later") {
        await job.moveToDelayed(next.at, token);
        throw new DelayedError();
      }
      if (next.next === "done") {
        await this.#forgetChildren(job);
        return next.result;
      }
    }
  }

  /** Answers what agents ask on a queue of theirs; what the handler throws is the answer as well. */
  serveRequests(queue: string, handler: (data: unknown) => Promise<object>): void {
    this.#serve(queue, 10, async (job) => {
      try {
        return await handler(job.data);
      } catch (error) {
        const record = toErrorRecord(error);
        this.#log.warn({ queue, error: record }, record.message);
        throw record.permanent
          ? new UnrecoverableError(encodeErrorMessage(error))
          : new Error(encodeErrorMessage(error), { cause: error });
      }
    });
  }

  #serve(queue: string, concurrency: number, take: (job: Job, token: string) => Promise<object>): void {
    const { lockMs, stalledMs, flowBackoffMs } = this.#timings;
    const redis = connectRedis(this.#address, queue, this.#log);
    const inHand = (job: Job, token = ""): Promise<object> => {
      const key = `${queue} ${job.id ?? ""}`;
      const taken = this.#afterwards(this.#inHand.get(key), job, token, take);
      this.#inHand.set(key, taken);
      const done = (): void => {
        if (this.#inHand.get(key) === taken) this.#inHand.delete(key);
      };
      taken.then(done, done);
      return taken;
    };
    const worker = new Worker(queue, inHand, {
      connection: redis,
      prefix: queuePrefix,
      concurrency,
      lockDuration: lockMs,
      stalledInterval: stalledMs,
      // However often the controller dies, the flow goes on.
      maxStalledCount: 1_000_000,
      runRetryDelay: 1000,
      removeOnComplete: { count: 1000, age: 3600 },
      removeOnFail: { count: 1000, age: 3600 },
      settings: { backoffStrategy: (attempts) => Math.min(flowBackoffMs, 500 * 2 ** Math.min(attempts, 20)) },
    });
    let told = "";
    worker.on("error", (error: Error) => {
      if (this.ready && error.message !== told)
        this.#log.warn({ queue, why: error.message }, "the queue reports a fault");
      told = error.message;
    });
    this.#workers.push({ worker, redis });
  }

  /**
   * A job whose lock an outage of Redis took is handed out again while the first taker is still at it: it waits for
   * that one's end. BullMQ then also stops renewing the second one's lock, so that here is done as well.
   */
  async #afterwards(
    former: Promise<object> | undefined,
    job: Job,
    token: string,
    take: (job: Job, token: string) => Promise<object>,
  ): Promise<object> {
    const { lockMs } = this.#timings;
    const renewal = setInterval(() => {
      // One that lost its lock is told so when it ends.
      job.extendLock(token, lockMs).catch(() => undefined);
    }, lockMs / 3);
    this.#renewals.add(renewal);
    try {
      await former?.catch(() => undefined);
      return await take(job, token);
    } finally {
      clearInterval(renewal);
      this.#renewals.delete(renewal);
    }
  }

  #flowOf(job: Job): Flow {
    const id = job.id ?? "";
    return {
      id,
      data: job.data as unknown,
      save: (data) => job.updateData(data),
      addChildren: (children) => this.#addChildren(id, children),
      outcomes: () => this.#outcomes(job),
    };
  }

  async #addChildren(flowId: string, children: readonly NewChild[]): Promise<void> {
    const abandoned = new Set(await this.#redis.hkeys(abandonedKey(flowId)));
    const known = await this.#exist(children);
    const byQueue = Map.groupBy(
      children.filter(({ id }, index) => known[index] !== true && !abandoned.has(id)),
      ({ queue }) => queue,
    );
    for (const [name, group] of byQueue) {
      await this.#queue(name).addBulk(
        group.map(({ id, data, attempts }) => ({
          name: "job",
          data: data ?? { held: true },
          opts: {
            jobId: id,
            parent: { id: flowId, queue: qualified(queueNames.controller) },
            // A child that failed is one that has ended: the parent goes on, and finds it among its failures.
            ignoreDependencyOnFailure: true,
            attempts,
            backoff: { type: "exponential", delay: this.#timings.childBackoffMs, jitter: 0.5 },
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

  async #outcomes(job: Job): Promise<Map<string, ChildOutcome>> {
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
          error: boundedError(decodeErrorMessage(reason)),
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

  /** The children's jobs, and what the parent recorded of them; those that an agent works on end by themselves. */
  async #forgetChildren(job: Job): Promise<void> {
    const key = `${qualified(queueNames.controller)}:${job.id ?? ""}`;
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
    await this.#redis.del(`${key}:processed`, `${key}:failed`, abandonedKey(job.id ?? ""));
  }

  /** Children that have not ended. */
  async pending(flowId: string): Promise<ChildRef[]> {
    const keys = await this.#redis.smembers(`${qualified(queueNames.controller)}:${flowId}:dependencies`);
    return keys.map(childOfKey);
  }

  async children(refs: readonly ChildRef[]): Promise<ChildView[]> {
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
    if (state === "delayed") return { ...view, state: isHeld(job) ? "held" : "retrying" };
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

  /** Waits at most `graceMs` for the steps in hand; what is cut off is done again by the next controller. */
  async close(graceMs: number): Promise<void> {
    await Promise.all(this.#workers.map(({ worker }) => worker.pause(true)));
    const grace = new Promise((resolve) => setTimeout(resolve, graceMs).unref());
    await Promise.race([Promise.allSettled(this.#inHand.values()), grace]);
    for (const renewal of this.#renewals) clearInterval(renewal);
    // Not BullMQ's own waiting: it has no end, and leaves a connection behind that goes on trying.
    await Promise.all(this.#workers.map(({ worker }) => worker.close(true)));
    for (const { redis } of this.#workers) redis.disconnect();
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
    this.#redis.disconnect();
  }
}

/** Of a flow that was done at a later attempt the reason of the earlier one stays. */
function failedReasonOf(job: Job<unknown, unknown>): string | null {
  // BullMQ declares it as always there.
  const reason = job.failedReason as string | undefined | null;
  const done = job.finishedOn !== undefined && job.returnvalue !== null && job.returnvalue !== undefined;
  return done ? null : (reason ?? null);
}

function viewOf(job: Job): FlowView {
  const reason = failedReasonOf(job);
  return {
    id: job.id ?? "",
    kind: job.name,
    data: job.data as unknown,
    state: job.finishedOn === undefined ? "open" : reason === null ? "done" : "failed",
    error: reason === null ? null : boundedError(decodeErrorMessage(reason)),
    result: job.returnvalue as unknown,
    createdAt: job.timestamp,
  };
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

function unreachable(): SkepError {
  return new SkepError({
    code: "SKEP_QUEUE_UNREACHABLE",
    message: "Redis does not answer",
    permanent: false,
    hint: "see with `docker service ps skep_redis` why it does not run; runs in the store can be read all the same",
  });
}

function unknownKind(kind: string): SkepError {
  return new SkepError({
    code: "SKEP_FLOW_UNKNOWN",
    message: `there is a job "${kind}" in the controller's queue that this version does not know`,
    permanent: true,
    hint: "another version of Skep, or somebody else, put it there",
  });
}
