// The queue's side of an agent: fetches jobs, hands them to the desk, takes results and errors back.
//
// A job is locked for 15 s and the lock renewed while it runs: what a killed agent had begun comes back to the queue
// within half a minute. The connection is tried for ever, and a result that Redis could not take is kept by the desk.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { DelayedError, Queue, UnrecoverableError, Worker } from "bullmq";
import { queueNames, queuePrefix, type EnrolmentRequest } from "../shared/contract/queues.ts";
import type { SealedResult } from "../shared/contract/signed-job.ts";
import { decodeErrorMessage, encodeErrorMessage, fromErrorRecord, SkepError, toErrorRecord } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { ProgressThinner } from "./progress-thinner.ts";
import type { JobDesk } from "./job-desk.ts";

export interface RedisAddress {
  host: string;
  port: number;
  password: string;
}

/** Options of ioredis, for BullMQ's own connections and the heartbeat's. */
export function redisOptions(address: RedisAddress): RedisAddress & {
  maxRetriesPerRequest: null;
  /** ms. Redis' name stands before it answers: a first packet that is lost must not cost ten seconds. */
  connectTimeout: number;
  retryStrategy: (times: number) => number;
} {
  return {
    ...address,
    maxRetriesPerRequest: null,
    connectTimeout: 2000,
    retryStrategy: (times) => Math.min(2000, 100 * times),
  };
}

const lockMs = 15_000;
const progressMs = 1000;
/** How long a job that the stopping agent gave back waits, so that not the same one takes it. */
const givenBackMs = 3000;
/** A job that another agent should rather have is left to it as often, for so long each time. */
const leftTimes = 5;
const leftMs = 200;
/** The journal counts attempts; BullMQ's own count of lost locks must not end a job before. */
const manyStalls = 1000;

export interface JobTaker {
  /** Takes no more jobs; resolves when those under way have come to their end. */
  close(): Promise<void>;
}

export function takeJobs(options: {
  redis: RedisAddress;
  queue: string;
  /** Jobs at once. */
  concurrency: number;
  desk: Pick<JobDesk, "carry" | "acknowledged">;
  /** Whether another agent should rather have jobs of that kind; this one takes them where none comes. */
  leaves?: (kind: string) => boolean;
  log: Logger;
}): JobTaker {
  const { desk, log } = options;
  const worker = new Worker<unknown, SealedResult>(
    options.queue,
    async (job, token) => {
      const id = job.id ?? "";
      const jobLog = log.child({ job: id, task: job.name });
      // Counted by the queue, and by no clock: the machines' differ.
      if (job.attemptsStarted <= leftTimes && options.leaves?.(job.name) === true) {
        await job.moveToDelayed(Date.now() + leftMs, token);
        throw new DelayedError();
      }
      const thinner = new ProgressThinner(progressMs, (progress) => {
        job.updateProgress(progress).catch((error: unknown) => {
          jobLog.warn({ err: error }, "progress was not taken");
        });
      });
      jobLog.info("begins");
      try {
        const result = await desk.carry({
          id,
          data: job.data,
          isLast: job.attemptsMade + 1 >= (job.opts.attempts ?? 1),
          onProgress: (progress) => {
            thinner.report(progress);
          },
        });
        jobLog.info("done");
        return result;
      } catch (error) {
        const { code, message, permanent } = toErrorRecord(error);
        if (code === "SKEP_AGENT_STOPPING") {
          jobLog.info("given back");
          await job.moveToDelayed(Date.now() + givenBackMs, token);
          throw new DelayedError();
        }
        jobLog.error({ code, permanent, ...(code === "SKEP_INTERNAL" ? { err: error } : {}) }, message);
        const encoded = encodeErrorMessage(error);
        throw permanent ? new UnrecoverableError(encoded) : new Error(encoded);
      } finally {
        thinner.stop();
      }
    },
    {
      connection: redisOptions(options.redis),
      prefix: queuePrefix,
      concurrency: options.concurrency,
      lockDuration: lockMs,
      stalledInterval: lockMs / 3,
      maxStalledCount: manyStalls,
      runRetryDelay: 1000,
    },
  );
  worker.on("completed", (job) => {
    desk.acknowledged(job.id ?? "");
  });
  const complain = onceInAWhile((error) => {
    log.warn({ queue: options.queue, reason: error.message }, "the queue is not reached, or lost sight of a job");
  });
  worker.on("error", complain);
  return { close: () => worker.close() };
}

/** ioredis reports every failed try; one line each half minute is enough. */
export function onceInAWhile(tell: (error: Error) => void): (error: Error) => void {
  let toldAt = 0;
  return (error) => {
    if (Date.now() - toldAt < 30_000) return;
    toldAt = Date.now();
    tell(error);
  };
}

const pollMs = 200;

/**
 * The controller's answer, unchecked. Throws SKEP_ENROLMENT_UNANSWERED after the time, and the error that the controller
 * answered with. It is asked for, not listened to: an enrolment is rare, and a listener is a connection more to end.
 */
export async function askController(
  redis: RedisAddress,
  request: EnrolmentRequest,
  timeoutMs: number,
  onError: (error: Error) => void,
): Promise<unknown> {
  const connection = redisOptions(redis);
  const queue = new Queue<EnrolmentRequest>(queueNames.enrolment, { connection, prefix: queuePrefix });
  queue.on("error", onError);
  const jobId = randomUUID();
  const timeout = new AbortController();
  const timedOut = sleep(timeoutMs, undefined, { signal: timeout.signal }).then(() => {
    throw new SkepError({
      code: "SKEP_ENROLMENT_UNANSWERED",
      message: `the controller did not answer within ${timeoutMs / 1000} s`,
      permanent: false,
      hint: "is the controller running, and are Redis' address and password right?",
    });
  });
  try {
    const answer = answerTo(queue, jobId, request, timeout.signal);
    return await Promise.race([answer, timedOut]);
  } finally {
    timeout.abort();
    timedOut.catch(() => undefined); // ended by the abort
    // A question that nobody waits for must not pile up in the queue. Without Redis it is not there either.
    const removed = queue.remove(jobId).catch(onSomething(onError));
    await Promise.race([removed, sleep(1000)]);
    await queue.disconnect();
  }
}

function onSomething(onError: (error: Error) => void): (thrown: unknown) => void {
  return (thrown) => {
    onError(thrown instanceof Error ? thrown : new Error(String(thrown)));
  };
}

async function answerTo(
  queue: Queue<EnrolmentRequest>,
  jobId: string,
  request: EnrolmentRequest,
  signal: AbortSignal,
): Promise<unknown> {
  await queue.add("enrol", request, { jobId });
  for (;;) {
    signal.throwIfAborted();
    const job = await queue.getJob(jobId);
    if (job?.finishedOn !== undefined) {
      if (job.failedReason) throw fromErrorRecord(decodeErrorMessage(job.failedReason));
      return job.returnvalue as unknown;
    }
    await sleep(pollMs, undefined, { signal });
  }
}
