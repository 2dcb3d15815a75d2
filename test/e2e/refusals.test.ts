import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import type { Agent } from "../../controller/api/schemas.ts";
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
// Listens until the controller orders something of the victim, and waits until it is done and forgotten.
console.error("listening");
let genuine;
const deadline = Date.now() + 60000;
while (genuine === undefined && Date.now() < deadline) {
  const jobs = await target.queue.getJobs(["waiting", "active", "completed"]);
  genuine = jobs.find((job) => job?.data?.payload?.includes('"kind":"node"'));
}
if (genuine === undefined) throw new Error("no job of the run was seen");
const id = genuine.id;
while ((await Job.fromId(target.queue, id)) !== undefined && Date.now() < deadline) await new Promise((r) => setTimeout(r, 200));
const answers = {};
answers.forged = await reasonOf(target, { payload: JSON.stringify({ version: 1, task: { kind: "node", runId: "20261121-030000-abc123" } }), signature: "A".repeat(86) + "==" }, "forged-1");
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
    const { agents } = await cluster.skepJson<{ agents: Agent[] }>(["agents"]);
    const idOf = (name: string): string =>
      agents.find(({ hostname }) => hostname === name)?.nodeId ?? expect.fail(`no agent on ${name}`);
    const node = (await cluster.nodeOf("controller")) ?? expect.fail("the controller runs nowhere");
    const container = (await cluster.containerOn(node, "controller")) ?? expect.fail("no controller");
    const environment = ["--env", `ATTACK=${JSON.stringify([idOf("node1"), idOf("node2")])}`];
    const program = ["node", "--input-type=module", "-"];
    const argv = ["docker", "exec", "--interactive", "--workdir", "/opt/skep", ...environment, container, ...program];
    const attacking = node.run(argv, { input: attack });
    await sleep(5000);
    await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    answers = JSON.parse(await attacking) as Record<string, string>;
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
