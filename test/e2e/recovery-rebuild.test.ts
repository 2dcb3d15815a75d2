import { expect } from "chai";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { skepImages } from "../lab/skep-image.ts";
import { updateInSwarm } from "../lab/swarm.ts";
import { Cluster } from "./cluster.ts";
import { deployApplication, uploadsVolume, witness } from "./recovery/application.ts";
import { expectBackupAgain, expectContent, planRebuild, rebuildKilled } from "./recovery/rebuilt-swarm.ts";
import { describeTree } from "./volumes.ts";

interface Seen {
  services: Record<string, { TaskTemplate: { Placement?: { Constraints?: string[] } } }>;
}

describe("a burned swarm of one node, rebuilt by the API", function () {
  this.timeout(420_000);
  let cluster: Cluster;
  let fresh: LabNode;
  let inventory: string;
  let journal: string;
  let seenBefore: Seen;
  let uploads: string;

  before(async () => {
    cluster = await Cluster.up({ nodes: 1, managers: 1, stack: { SKEP_REDIS_PLACEMENT: "node.hostname == node1" } });
    const node = cluster.manager;
    await updateInSwarm(node, ["swarm", "update", "--autolock=true", "--task-history-limit=3"]);
    await deployApplication([node, node, node], nodeImage().tag);
    await cluster.deploy();
    await cluster.ready();
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    expect(run?.status).to.equal("done");
    seenBefore = (await witness(node, new Map(), "new")) as unknown as Seen;
    uploads = await describeTree(node, uploadsVolume);
    fresh = await cluster.lab.addNode({ images: [...(await skepImages()), redisImage("skep-lab/redis:7")] });
    await cluster.lab.burn(node);
    const { hostKey, operator } = await fresh.ssh();
    inventory = join(cluster.folder, "inventory.yml");
    journal = join(cluster.folder, "journal");
    await writeFile(join(cluster.folder, "sudo-password"), operator.password, { mode: 0o600 });
    await writeFile(
      inventory,
      `version: 1
ssh: { key: ${operator.privateKeyPath}, user: ${operator.user}, sudo: true, sudoPasswordFile: sudo-password }
machines:
  m1: { address: ${fresh.address}, role: manager, hostKey: "${hostKey}" }
nodes: { node1: m1 }
`,
    );
  });
  after(() => cluster.down());

  it("says beforehand what will be other than it was", async () => {
    await planRebuild({ cluster, inventory });
  });

  it("comes back by one command, killed while it makes the swarm, fills it and lets services go", async () => {
    await rebuildKilled({ cluster, inventory, journal });
  });

  it("has each object as it was, by name, and its job held", async () => {
    const now = (await witness(fresh, new Map([[fresh.name, "node1"]]), "new")) as unknown as Seen;
    const job = now.services["migration"] ?? expect.fail("no job");
    expect(job.TaskTemplate.Placement?.Constraints).to.deep.equal(["node.id==held-by-skep"]);
    job.TaskTemplate = seenBefore.services["migration"]?.TaskTemplate ?? expect.fail("there was a job");
    expect(now).to.deep.equal(seenBefore);
  });

  it("has the content of volumes and secrets, and is autolocked as it was", async () => {
    await expectContent(fresh, uploads);
  });

  it("backs itself up again into the same repository, with the new controller key", async () => {
    await expectBackupAgain(cluster);
  });
});
