// The controller's door to BullMQ. A flow is a job of the controller's own queue, done in steps: a step adds
// children to the agents' queues and sleeps until all of them have ended. What a flow has to know after a crash is
// in its data and in the outcomes of its children; every call here may be made twice.
import { DelayedError, Queue, UnrecoverableError, WaitingChildrenError, Worker, type Job } from "bullmq";
import type { Redis } from "ioredis";
import { queueNames, queuePrefix } from "../shared/contract/queues.ts";
import { decodeErrorMessage, encodeErrorMessage, SkepError, toErrorRecord } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import {
  type ChildOutcome,
  type ChildRef,
  type ChildView,
  type Flow,
  type FlowHandler,
  type FlowView,
} from "./flow.ts";
import { FlowChildren } from "./queue-children.ts";
import { connectRedis, RedisSide, type RedisAddress } from "./redis.ts";

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
/** Ended flows that stay to be looked at; their children and outcomes go at once. */
const keptFlows = 200;

export class JobQueue {
  readonly #redis: Redis;
  /** Heartbeats and what is kept beside the queues. */
  readonly side: RedisSide;
  readonly #children: FlowChildren;
  readonly #queues = new Map<string, Queue>();
  readonly #workers: { worker: Worker; redis: Redis }[] = [];
  /** Steps and answers under way, by queue and job. */
  readonly #inHand = new Map<string, Promise<object>>();
  readonly #renewals = new Set<NodeJS.Timeout>();
  /** Ends when no look for ended flows is under way. */
  #tidying: Promise<void> = Promise.resolve();
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
    this.#children = new FlowChildren(this.#redis, (name) => this.#queue(name), this.#timings.childBackoffMs);
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

  /** Outcomes of an open flow's children so far, by child id; null of one that has ended: they are forgotten. */
  async openOutcomes(flowId: string): Promise<Map<string, ChildOutcome> | null> {
    const job = (await this.#queue(queueNames.controller).getJob(flowId)) as Job | undefined;
    if (job === undefined) return null;
    const outcomes = await this.#children.outcomes(job);
    // Looked at last: they are forgotten after its end, so those of one that is still open were all there.
    return (await this.flow(flowId))?.state === "open" ? outcomes : null;
  }

  /** An open flow knows this from now on, and goes on at once if it sleeps until later. */
  async tellFlow(flowId: string, data: object): Promise<void> {
    const job = (await this.#queue(queueNames.controller).getJob(flowId)) as Job | undefined;
    await job?.updateData(data);
    await this.wake(flowId);
  }

  /** A flow that sleeps until later goes on now. */
  async wake(flowId: string): Promise<void> {
    const job = (await this.#queue(queueNames.controller).getJob(flowId)) as Job | undefined;
    if (job === undefined || !(await job.isDelayed())) return;
    try {
      await job.promote();
    } catch (error) {
      // Somebody else was faster.
      if (await job.isDelayed()) throw error;
    }
  }

  /** One that has ended is gone, so that its id can be opened again; an open one stays. */
  async forgetEndedFlow(flowId: string): Promise<void> {
    await this.#forgetEnded();
    const job = (await this.#queue(queueNames.controller).getJob(flowId)) as Job | undefined;
    if (job?.finishedOn !== undefined) await job.remove();
  }

  /** Takes flows, each by the handler of its kind, until close(). */
  serveFlows(handlers: Readonly<Record<string, FlowHandler>>): void {
    const worker = this.#serve(queueNames.controller, 50, async (job, token) => {
      try {
        const handler = handlers[job.name];
        if (handler === undefined) throw unknownKind(job.name);
        return await this.#steps(job, token, handler);
      } catch (error) {
        if (error instanceof WaitingChildrenError || error instanceof DelayedError) throw error;
        const record = toErrorRecord(error);
        this.#log[record.permanent ? "error" : "warn"]({ flow: job.id, kind: job.name, error: record }, record.message);
        if (!record.permanent) throw new Error(encodeErrorMessage(error), { cause: error });
        await this.#children.noteEnding(job.id ?? "");
        throw new UnrecoverableError(encodeErrorMessage(error));
      }
    });
    const tidy = (): void => void this.#forgetEnded();
    worker.on("completed", tidy).on("failed", tidy);
    tidy();
  }

  async #steps(job: Job, token: string, handler: FlowHandler): Promise<object> {
    for (;;) {
      if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
      const next = await handler(this.#flowOf(job));
      if (next.next === "later") {
        await job.moveToDelayed(next.at, token);
        // Who told it something while it was at work found nobody asleep.
        const told = await this.flow(job.id ?? "");
        if (told !== null && JSON.stringify(told.data) !== JSON.stringify(job.data)) await this.wake(told.id);
        throw new DelayedError();
      }
      if (next.next === "done") {
        await this.#children.noteEnding(job.id ?? "");
        return next.result;
      }
    }
  }

  /**
   * What the children of ended flows left goes. Not before their flow's end: one that loses its lock or its controller
   * just then is done again, and without what came of its children it would order all of them anew.
   */
  #forgetEnded(): Promise<void> {
    this.#tidying = this.#tidying.then(async () => {
      try {
        for (const id of await this.#children.ending()) {
          if ((await this.flow(id))?.state !== "open") await this.#children.forget(id);
        }
      } catch (error) {
        if (this.ready) this.#log.warn({ error: toErrorRecord(error) }, "ended flows are tidied up after the next one");
      }
    });
    return this.#tidying;
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

  #serve(queue: string, concurrency: number, take: (job: Job, token: string) => Promise<object>): Worker {
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
    return worker;
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
      addChildren: (children) => this.#children.add(id, children),
      outcomes: () => this.#children.outcomes(job),
    };
  }

  /** Children that have not ended. */
  pending(flowId: string): Promise<ChildRef[]> {
    return this.#children.pending(flowId);
  }

  children(refs: readonly ChildRef[]): Promise<ChildView[]> {
    return this.#children.look(refs);
  }

  /** Hands a held child to its agent. No harm in doing it twice. */
  dispatch(ref: ChildRef, data: object): Promise<void> {
    return this.#children.dispatch(ref, data);
  }

  /** Ends a child without its agent: its flow goes on, with this failure. An agent that still works on it is not heard any more. */
  abandon(flowId: string, ref: ChildRef, error: SkepError): Promise<void> {
    return this.#children.abandon(flowId, ref, error);
  }

  /** Waits at most `graceMs` for the steps in hand; what is cut off is done again by the next controller. */
  async close(graceMs: number): Promise<void> {
    await Promise.all(this.#workers.map(({ worker }) => worker.pause(true)));
    const grace = new Promise((resolve) => setTimeout(resolve, graceMs).unref());
    await Promise.race([Promise.allSettled([...this.#inHand.values(), this.#tidying]), grace]);
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
    error: reason === null ? null : decodeErrorMessage(reason),
    result: job.returnvalue as unknown,
    createdAt: job.timestamp,
  };
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
