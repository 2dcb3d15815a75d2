// A process that takes jobs of one queue as an agent does, to be killed by a test: it does what the job's data says.
// Standard input: JSON { redis, queue, log }, where `log` is a file that gets one line for each job begun.
import { Worker } from "bullmq";
import { Redis } from "ioredis";
import { appendFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { queuePrefix } from "../../shared/contract/queues.ts";
import type { RedisAddress } from "../../controller/redis.ts";

const { redis, queue, log } = JSON.parse(await text(process.stdin)) as {
  redis: RedisAddress;
  queue: string;
  log: string;
};
const doJob = async (id: string, sleepMs: number): Promise<object> => {
  appendFileSync(log, `${id}\n`);
  await sleep(sleepMs);
  return { done: id };
};
// As the agent's desk and journal do: a job that the queue lost sight of gets the end of the first run of it.
const running = new Map<string, Promise<object>>();
new Worker<{ sleepMs?: number }>(
  queue,
  async (job) => {
    const id = job.id ?? "";
    const run = running.get(id) ?? doJob(id, job.data.sleepMs ?? 0);
    running.set(id, run);
    return run;
  },
  {
    connection: new Redis({ ...redis, maxRetriesPerRequest: null }),
    prefix: queuePrefix,
    concurrency: 4,
    lockDuration: 1000,
    stalledInterval: 300,
    maxStalledCount: 1000,
    drainDelay: 1,
  },
).on("error", () => undefined);
