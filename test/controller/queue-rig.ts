// What a test of the queue needs: a real Redis, agents in this process and in others, and flows of two steps.
import { DelayedError, Worker, type Job } from "bullmq";
import { Redis } from "ioredis";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ChildOutcome, FlowHandler, FlowView, NewChild } from "../../controller/flow.ts";
import { JobQueue } from "../../controller/queue.ts";
import type { RedisAddress } from "../../controller/redis.ts";
import { queueNames, queuePrefix } from "../../shared/contract/queues.ts";
import { SkepError } from "../../shared/errors.ts";
import { makeLogger } from "../../shared/log.ts";
import { RedisServer } from "../lab/redis.ts";

export const log = makeLogger("test", "silent");
export const timings = { lockMs: 1000, stalledMs: 300, childBackoffMs: 100, flowBackoffMs: 200 };
export const gone = new SkepError({
  code: "SKEP_AGENT_GONE",
  message: "the agent is gone",
  permanent: false,
  hint: "look",
});
export const node1 = queueNames.node("n1");

export async function until<T>(
  what: string,
  look: () => Promise<T | null | false | undefined>,
  ms = 15_000,
): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== null && found !== false && found !== undefined) return found;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(20);
  }
}

export class QueueRig {
  readonly server: RedisServer;
  readonly address: RedisAddress;
  readonly folder: string;
  /** Called, last first, by clear(). */
  closers: (() => Promise<unknown> | undefined)[] = [];

  private constructor(server: RedisServer, address: RedisAddress, folder: string) {
    this.server = server;
    this.address = address;
    this.folder = folder;
  }

  static async make(): Promise<QueueRig> {
    const server = await RedisServer.alone();
    return new QueueRig(server, await server.address(), await mkdtemp(join(tmpdir(), "skep-queue-")));
  }

  async remove(): Promise<void> {
    await this.server.remove();
    await rm(this.folder, { recursive: true });
  }

  /** Ends all that a test began, and empties Redis. */
  async clear(): Promise<void> {
    for (const close of this.closers.reverse()) await close();
    this.closers = [];
    const redis = new Redis(this.address);
    await redis.flushall();
    redis.disconnect();
  }

  openQueue(handlers: Record<string, FlowHandler> = {}): JobQueue {
    const queue = new JobQueue(this.address, log, timings);
    this.closers.push(() => queue.close(500));
    if (Object.keys(handlers).length > 0) queue.serveFlows(handlers);
    return queue;
  }

  /** `giveBack` ends the work on a job without an attempt: it is taken again a minute later. */
  agent(queue: string, take: (id: string, data: unknown, giveBack: () => Promise<never>) => Promise<unknown>): Worker {
    const redis = new Redis({ ...this.address, maxRetriesPerRequest: null });
    const work = (job: Job, token?: string): Promise<unknown> =>
      take(job.id ?? "", job.data, async () => {
        await job.moveToDelayed(Date.now() + 60_000, token);
        throw new DelayedError();
      });
    const worker = new Worker(queue, work, {
      connection: redis,
      prefix: queuePrefix,
      lockDuration: 1000,
      stalledInterval: 300,
      drainDelay: 1,
    });
    worker.on("error", () => undefined);
    this.closers.push(async () => {
      await worker.close(true);
      redis.disconnect();
    });
    return worker;
  }

  /** An agent that can be killed; it writes to `file` what it does. */
  process(queue: string, file: string): ChildProcess {
    const child = spawn(process.execPath, [join(import.meta.dirname, "queue-worker.ts")], {
      stdio: ["pipe", "ignore", "inherit"],
    });
    child.stdin.end(JSON.stringify({ redis: this.address, queue, log: file }));
    this.closers.push(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await new Promise((resolve) => child.once("exit", resolve));
    });
    return child;
  }
}

/** Adds the children in a first step; a second one, once they have ended, keeps what became of them. */
export function twoSteps(children: NewChild[], seen: Map<string, ChildOutcome>[]): FlowHandler {
  return async (flow) => {
    const { step } = flow.data as { step: number };
    if (step === 0) {
      await flow.addChildren(children);
      await flow.save({ step: 1 });
      return { next: "children" };
    }
    seen.push(await flow.outcomes());
    return { next: "done", result: { ended: true } };
  };
}

export async function ended(queue: JobQueue, id: string): Promise<FlowView> {
  return until(`${id} ends`, async () => {
    const flow = await queue.flow(id);
    return flow !== null && flow.state !== "open" ? flow : null;
  });
}

export function child(id: string, more: Partial<NewChild> = {}): NewChild {
  return { queue: node1, id, data: { sleepMs: 0 }, attempts: 1, ...more };
}
