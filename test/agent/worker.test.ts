import { Queue } from "bullmq";
import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { redisOptions, takeJobs, type JobTaker, type RedisAddress } from "../../agent/worker.ts";
import { queuePrefix } from "../../shared/contract/queues.ts";
import { makeLogger } from "../../shared/log.ts";
import { RedisServer } from "../lab/redis.ts";

const log = makeLogger("test", "silent");

describe("an agent's side of a queue", function () {
  this.timeout(60_000);
  let server: RedisServer;
  let redis: RedisAddress;
  let queue: Queue;
  let done: string[];
  let takers: JobTaker[];
  before(async () => {
    server = await RedisServer.alone();
    redis = await server.address();
    queue = new Queue("q", { connection: redisOptions(redis), prefix: queuePrefix });
    await queue.waitUntilReady();
  });
  beforeEach(() => {
    done = [];
    takers = [];
  });
  afterEach(() => Promise.all(takers.map((taker) => taker.close())));
  after(async () => {
    await queue.close();
    await server.remove();
  });

  const take = (name: string, leaves: (kind: string) => boolean): void => {
    const carry = ({ id }: { id: string }): Promise<never> => {
      done.push(`${id} by ${name}`);
      return Promise.resolve({} as never);
    };
    const desk = { carry, acknowledged: () => undefined };
    takers.push(takeJobs({ redis, queue: "q", concurrency: 1, desk, leaves, log }));
  };
  const until = async (count: number): Promise<void> => {
    for (const end = Date.now() + 30_000; done.length < count && Date.now() < end;) await sleep(20);
    expect(done).to.have.length(count);
  };

  it("leaves jobs of a kind to another agent, and no others", async () => {
    const isLeft = Promise.withResolvers<undefined>();
    take("leader", (kind) => {
      if (kind === "raft") isLeft.resolve(undefined);
      return kind === "raft";
    });
    await queue.add("definitions", {}, { jobId: "other" });
    await until(1);
    await queue.add("raft", {}, { jobId: "copy" });
    await isLeft.promise;
    // Before it comes back to this one.
    await takers.pop()?.close();
    take("follower", () => false);
    await until(2);
    expect(done).to.deep.equal(["other by leader", "copy by follower"]);
  });

  it("takes what it left where no other comes", async () => {
    take("leader", () => true);
    await queue.add("raft", {}, { jobId: "alone" });
    await until(1);
    expect(done).to.deep.equal(["alone by leader"]);
  });
});
