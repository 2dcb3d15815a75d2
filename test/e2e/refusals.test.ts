import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import type { Cluster } from "./cluster.ts";
import { sharedCluster } from "./shared-cluster.ts";

/** What somebody with Redis' password can do, done inside the controller's container: BullMQ and the password are there. */
const attack = `
import { readFileSync } from "node:fs";
import { Queue, QueueEvents, Job } from "bullmq";
const connection = { host: "redis", password: readFileSync("/run/secrets/redis.password", "utf8").trim() };
const [victim, other] = JSON.parse(process.env.ATTACK);
const open = (name) => ({ queue: new Queue(name, { connection, prefix: "skep" }), events: new QueueEvents(name, { connection, prefix: "skep" }) });
const target = open("node-" + victim);
const another = open("node-" + other);
await target.events.waitUntilReady();
await another.events.waitUntilReady();
const reasonOf = async ({ queue, events }, data, jobId) => {
  const job = await queue.add("job", data, { jobId, attempts: 1 });
  try { await job.waitUntilFinished(events, 30000); return "accepted"; }
  catch { return (await Job.fromId(queue, job.id))?.failedReason ?? "refused"; }
};
// A run's jobs stand in Redis until it has ended: copied while it goes on, replayed when they are gone.
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let genuine;
for (const end = Date.now() + 60_000; Date.now() < end && !genuine; ) {
  genuine = (await target.queue.getJobs(["completed"])).find((job) => job.id.endsWith("-node-" + victim));
  await sleep(100);
}
if (!genuine) throw new Error("no finished job of a run was found: " + JSON.stringify(await target.queue.getJobCounts()));
const { id } = genuine;
const runId = id.slice(0, -("-node-" + victim).length);
for (let tries = 0; tries < 600 && (await Job.fromId(target.queue, id)); tries++) await sleep(100);
const answers = {};
answers.forged = await reasonOf(target, { payload: JSON.stringify({ version: 1, task: { kind: "node", runId } }), signature: "A".repeat(86) + "==" }, "forged-1");
answers.unsigned = await reasonOf(target, { kind: "node" }, "forged-2");
answers.replayedUnderAnotherName = await reasonOf(target, genuine.data, "replay-1");
answers.replayed = await reasonOf(target, genuine.data, id);
answers.addressedToAnother = await reasonOf(another, genuine.data, "foreign-1");
console.log(JSON.stringify(answers));
process.exit(0);
`;

describe("a job that the controller did not order", function () {
  this.timeout(180_000);
  let cluster: Cluster;
  let answers: Record<string, string>;

  before(async () => {
    cluster = await sharedCluster();
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    const idOf = (name: string): string =>
      run?.nodes.find((node) => node.hostname === name)?.id ?? expect.fail(`no node ${name} in the run`);
    const node = (await cluster.nodeOf("controller")) ?? expect.fail("the controller runs nowhere");
    const container = (await cluster.containerOn(node, "controller")) ?? expect.fail("no controller");
    const environment = ["--env", `ATTACK=${JSON.stringify([idOf("node1"), idOf("node2")])}`];
    const program = ["node", "--input-type=module", "-"];
    const argv = ["docker", "exec", "--interactive", "--workdir", "/opt/skep", ...environment, container, ...program];
    const state = { underWay: true };
    const attacked = node.run(argv, { input: attack }).finally(() => {
      state.underWay = false;
    });
    attacked.catch(() => undefined); // awaited below, when no run is under way any more
    // It looks for the jobs of a run, for a minute: runs are made until it has found some.
    do {
      await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
      await sleep(1000);
    } while (state.underWay);
    answers = JSON.parse(await attacked) as Record<string, string>;
  });

  const refusals = [
    ["forged", "SKEP_SIGNATURE_INVALID"],
    ["unsigned", "SKEP_JOB_INVALID"],
    ["replayed", "SKEP_JOB_REPLAYED"],
    ["replayedUnderAnotherName", "SKEP_JOB_REPLAYED|SKEP_JOB_FOREIGN|SKEP_JOB_INVALID"],
    ["addressedToAnother", "SKEP_JOB_FOREIGN"],
  ] as const;
  for (const [way, code] of refusals) {
    it(`is refused when it is ${way}`, () => {
      expect(answers[way]).to.match(new RegExp(code));
    });
  }
});
