import { expect } from "chai";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BackupDocument, RecoveryPlanDocument } from "../../controller/cli/documents.ts";
import type { RecoveryReport } from "../../controller/recovery/report.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { skepImages } from "../lab/skep-image.ts";
import { Cluster } from "./cluster.ts";
import { deployApplication, signingKey, until, uploadsVolume, witness } from "./recovery/application.ts";
import { journalLines, killedRun } from "./recovery/killed-run.ts";
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
  const mode = ["--mode", "rebuild"];

  before(async () => {
    cluster = await Cluster.up({ nodes: 1, managers: 1, stack: { SKEP_REDIS_PLACEMENT: "node.hostname == node1" } });
    const node = cluster.manager;
    await node.run(["docker", "swarm", "update", "--autolock=true", "--task-history-limit=3"]);
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
    const argv = ["recover", "plan", "--inventory", inventory, "--identity", cluster.identity, ...mode];
    const plan = await cluster.skepJson<RecoveryPlanDocument>(argv);
    expect(plan.findings.filter(({ severity }) => severity === "error")).to.deep.equal([]);
    expect(plan.findings.map(({ code }) => code)).to.include.members(["rebuild-identity", "rebuild-key"]);
    expect(plan.steps.find(({ id }) => id === "swarm")?.title).to.contain("a new swarm");
  });

  it("comes back by one command, killed while it makes the swarm, fills it and lets services go", async () => {
    const victims = new Set(["swarm", "nodes", "release:1", "skep"]);
    for (;;) {
      const killed = await killedRun(cluster, { journal, inventory, argv: mode }, (step) => victims.has(step));
      if (killed === null) break;
      victims.delete(killed);
    }
    expect([...victims]).to.deep.equal([]);
    const done = (await journalLines(journal)).filter(({ event }) => event === "done").map(({ step }) => step);
    expect(done).to.have.length(new Set(done).size);
    const report = JSON.parse(await readFile(join(journal, "report.json"), "utf8")) as RecoveryReport;
    const states = new Set(report.objects.map(({ state }) => state));
    expect([...states].sort(), JSON.stringify(report.objects)).to.deep.equal(["equal", "held", "mapped"]);
    expect(report.outcome).to.equal("complete");
    expect(report.mappings.join("\n")).to.contain("job migration stays held").and.contain("node node1");
    console.log(
      `      with four kills ${(report.rtoMs / 1000).toFixed(1)} s: ${report.phases.map(({ phase, ms }) => `${phase} ${(ms / 1000).toFixed(1)} s`).join(", ")}`,
    );
  });

  it("has each object as it was, by name, and its job held", async () => {
    const now = (await witness(fresh, new Map([[fresh.name, "node1"]]), "new")) as unknown as Seen;
    const job = now.services["migration"] ?? expect.fail("no job");
    expect(job.TaskTemplate.Placement?.Constraints).to.deep.equal(["node.id==held-by-skep"]);
    job.TaskTemplate = seenBefore.services["migration"]?.TaskTemplate ?? expect.fail("there was a job");
    expect(now).to.deep.equal(seenBefore);
  });

  it("has the content of volumes and secrets, and is autolocked as it was", async () => {
    expect(await describeTree(fresh, uploadsVolume)).to.equal(uploads);
    const id = (await fresh.run(["docker", "ps", "--quiet", "--filter", "name=shop_web"])).split("\n")[0] ?? "";
    expect(await fresh.run(["docker", "exec", id, "cat", "/run/secrets/signing_key"])).to.equal(signingKey);
    await until("the database opened with the rows that were committed", async () => {
      const { stdout } = await fresh.exec(["docker", "service", "logs", "--raw", "shop_database"]);
      return [...stdout.matchAll(/opened with (\d+) committed rows/g)].some(([, rows]) => Number(rows) > 0);
    });
    const spec = "{{.Swarm.Cluster.Spec.EncryptionConfig.AutoLockManagers}} {{json .Swarm.Cluster.Spec.Labels}}";
    expect((await fresh.run(["docker", "info", "--format", spec])).trim()).to.match(/^true (\{\}|null)$/);
    expect((await fresh.exec(["ls", "/var/lib/skep-recovery"])).code).to.not.equal(0);
  });

  it("backs itself up again into the same repository, with the new controller key", async () => {
    await cluster.ready(1);
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    expect(run?.status, JSON.stringify(run?.parts.filter(({ status }) => status !== "done"))).to.equal("done");
    expect(run?.incarnation).to.equal(2);
  });
});
