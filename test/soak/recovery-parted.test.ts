// The network was parted, not the swarm lost: its controller never stopped, and comes back with a schedule, runs that are due
// and a prune, while the repository belongs to the swarm that was rebuilt elsewhere.
import { expect } from "chai";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { RunsDocument } from "../../controller/cli/documents.ts";
import { redisImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { skepImages } from "../lab/skep-image.ts";
import { Cluster } from "../e2e/cluster.ts";
import { until } from "../e2e/recovery/application.ts";
import { runFiveCommands } from "../e2e/recovery/runbook-blocks.ts";
import { expectCountedNothing, fencedController, objectsOf } from "../e2e/recovery/woken-swarm.ts";
import { makeVolume } from "../e2e/volumes.ts";

/** Of everything that it may do by itself, something each minute. */
const policy = `version: 1
schedules:
  - { name: each-minute, cron: "* * * * *", timeZone: UTC }
retention: { last: 1 }
`;

describe("a swarm that was cut off and goes on, while it was rebuilt elsewhere", function () {
  this.timeout(900_000);
  let cluster: Cluster;
  let parted: LabNode;
  let fresh: LabNode;

  before(async () => {
    cluster = await Cluster.up({ nodes: 1, managers: 1, policy });
    parted = cluster.manager;
    await makeVolume(parted, "data", { rows: "committed" });
    await cluster.deploy();
    await cluster.ready();
    await until(
      "a run that was due is written",
      async () => (await runs()).some(({ status }) => status === "done"),
      300_000,
    );
    fresh = await cluster.lab.addNode({ images: [...(await skepImages()), redisImage("skep-lab/redis:7")] });
  });
  after(() => cluster.down());

  const runs = async (): Promise<RunsDocument["runs"]> =>
    (await cluster.skepJson<RunsDocument>(["runs", "--from-store", "--identity", cluster.identity])).runs;

  it("is rebuilt by the five commands of docs/RUNBOOK.md, and what is due there is taken by the new controller", async () => {
    await parted.cut();
    const { hostKey, root } = await fresh.ssh();
    const inventory = join(cluster.folder, "inventory.yml");
    await writeFile(
      inventory,
      `version: 1
ssh: { key: ${root.privateKeyPath} }
machines:
  m1: { address: ${fresh.address}, role: manager, hostKey: "${hostKey}" }
nodes: { node1: m1 }
`,
    );
    expect(await runFiveCommands(cluster, inventory)).to.match(/# Recovery \w+: complete/);
    const recoveredAt = new Date().toISOString();
    const isNew = ({ startedAt, status }: RunsDocument["runs"][number]): boolean =>
      startedAt > recoveredAt && status === "done";
    await until("a run of the new controller is written", async () => (await runs()).some(isNew), 300_000);
  });

  it("ends when it sees the store again: its due runs, its forgetting and its prune came to nothing", async () => {
    // From here on nobody else writes.
    await fresh.crash();
    const before = await objectsOf(cluster);
    const moment = (await parted.run(["date", "+%s"])).trim();
    await parted.heal();
    expect(await fencedController(parted, moment)).to.contain("SKEP_REPOSITORY_FENCED");
    // Swarm starts it again and again; each time it ends.
    const later = (await parted.run(["date", "+%s"])).trim();
    expect(await fencedController(parted, later)).to.contain("counts another controller's signature");
    await expectCountedNothing(cluster, before);
  });
});
