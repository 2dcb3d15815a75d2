import { expect } from "chai";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BackupDocument, KitListDocument } from "../../controller/cli/documents.ts";
import { command } from "../lab/command.ts";
import { nodeImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { startRegistry, type LabRegistry } from "../lab/registry.ts";
import { Cluster } from "../e2e/cluster.ts";
import { deployApplication, uploadsVolume, witness } from "../e2e/recovery/application.ts";
import { fetchObjects, pageBlock } from "../e2e/recovery/runbook-blocks.ts";
import { deployFromRegistry } from "../e2e/recovery/registry-services.ts";
import { journalLines } from "../e2e/recovery/killed-run.ts";
import {
  expectBackupAgain,
  expectContent,
  planRebuild,
  rebuildKilled,
  rebuildReport,
} from "../e2e/recovery/rebuilt-swarm.ts";
import { describeTree } from "../e2e/volumes.ts";

interface Seen {
  services: Record<
    string,
    { TaskTemplate: { Placement?: { Constraints?: string[] }; ContainerSpec: { Image: string } } }
  >;
}

describe("a burned swarm, rebuilt on a machine that holds no image, with a registry that lost some", function () {
  this.timeout(420_000);
  let cluster: Cluster;
  let fresh: LabNode;
  let inventory: string;
  let journal: string;
  let seenBefore: Seen;
  let uploads: string;
  let registry: LabRegistry;
  /** SHA-256. */
  let storedKit: string;
  /** By name of the service. */
  let digests: { kept: string; lost: string };
  const lostName = (): string => `localhost:5000/lost:1-skep-${digests.lost.slice("sha256:".length).slice(0, 12)}`;

  before(async () => {
    const stack = { SKEP_REDIS_PLACEMENT: "node.hostname == node1" };
    cluster = await Cluster.up({ nodes: 1, managers: 1, stack, policy: "version: 1\nimages: all\n" });
    const node = cluster.manager;
    const registryFolder = join(cluster.folder, "registry");
    registry = await startRegistry(node, registryFolder, { user: "anna", password: "then" });
    await node.run(["docker", "swarm", "update", "--autolock=true", "--task-history-limit=3"]);
    await deployApplication([node, node, node], nodeImage().tag);
    digests = await deployFromRegistry(node, registry.host, { user: "anna", password: "then" });
    await cluster.deploy();
    await cluster.ready();
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    expect(run?.status).to.equal("done");
    seenBefore = (await witness(node, new Map(), "new")) as unknown as Seen;
    uploads = await describeTree(node, uploadsVolume);
    // No application image, and none of Skep's own.
    fresh = await cluster.lab.addNode();
    await cluster.lab.burn(node);
    await registry.stop();
    // Of two images the registry has one still, under another password than the swarm kept.
    for (const file of await readdir(registryFolder)) {
      if (file.startsWith("manifest_lost") || file.startsWith("manifest lost")) await rm(join(registryFolder, file));
    }
    registry = await startRegistry(fresh, registryFolder, { user: "anna", password: "now, longer" });
    await writeFile(join(cluster.folder, "registry-password"), "now, longer\n", { mode: 0o600 });
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
registries: { "${registry.host}": { user: anna, passwordFile: registry-password } }
`,
    );
  });
  after(async () => {
    await registry.stop();
    await cluster.down();
  });

  it("says beforehand what will be other than it was", async () => {
    const plan = await planRebuild({ cluster, inventory });
    const said = plan.findings.map(({ code, text }) => `${code}: ${text}`).join("\n");
    expect(said).to.contain("image-pull: m1 must pull localhost:5000/kept:1 (kept)");
    expect(said).to.contain("image-load: m1 can't pull localhost:5000/lost:1 (lost)");
    expect(said).to.contain("image-load: m1 can't pull skep:").and.contain(`${lostName()}: a loaded image`);
  });

  it("has what a bare machine needs in the store, whole and as signed: it runs without an installation, by the commands of docs/RUNBOOK.md", async () => {
    const { kits } = await cluster.skepJson<KitListDocument>(["kit", "store", "--identity", cluster.identity]);
    const [kit] = kits;
    if (kit === undefined) return expect.fail("no kit");
    storedKit = kit.sha256;
    const work = "/root/without-installation";
    const folder = fresh.hostPath(work);
    await mkdir(folder, { mode: 0o700 });
    const store = await cluster.openStore();
    await fetchObjects(store, kit.keys, folder);
    await store.close();
    const { root } = await fresh.ssh();
    await cp(cluster.identity, join(folder, "identity-anna.txt"));
    await cp(join(cluster.folder, "s3.json"), join(folder, "keys.json"));
    await cp(root.privateKeyPath, join(folder, "id_ed25519"));
    for (const name of ["sudo-password", "registry-password"]) await cp(join(cluster.folder, name), join(folder, name));
    const asWritten = await readFile(inventory, "utf8");
    await writeFile(join(folder, "inventory.yml"), asWritten.replace(root.privateKeyPath, "id_ed25519"));
    const block = (await pageBlock("kits/SHA256/", cluster)).replaceAll("SHA256", kit.sha256);
    const shown = await fresh.run(["sh", "-euc", `cd ${work}\n${block}`]);
    expect(shown)
      .to.contain(`${kit.sha256}  kit.tar.gz`)
      .and.match(/start the swarm on m1/);
    const program = join(folder, "skep", "skep");
    const env = { PATH: "/usr/bin:/bin", SKEP_KIT: cluster.kit };
    const listed = await command([program, "kit", "list", "--identity", cluster.identity], { env });
    expect(listed).to.contain(kit.sha256);
    // An unpacked kit makes the same kit.
    const again = await command([program, "kit", "store", "--identity", cluster.identity, "--json"], { env });
    expect((JSON.parse(again) as KitListDocument).kits.map(({ sha256 }) => sha256)).to.deep.equal([kit.sha256]);
  });

  it("comes back by one command, killed while it makes the swarm, fills it and lets services go", async () => {
    await rebuildKilled({ cluster, inventory, journal });
    const kit = (await journalLines(journal)).find(({ event, step }) => event === "done" && step === "kit:m1");
    expect(JSON.stringify(kit)).to.contain(storedKit);
  });

  it("has each object as it was, by name, and its job held", async () => {
    const now = (await witness(fresh, new Map([[fresh.name, "node1"]]), "new")) as unknown as Seen;
    const lost = now.services["lost"]?.TaskTemplate ?? expect.fail("no service");
    expect(lost.ContainerSpec.Image).to.equal(lostName());
    lost.ContainerSpec.Image = `localhost:5000/lost:1@${digests.lost}`;
    const job = now.services["migration"] ?? expect.fail("no job");
    expect(job.TaskTemplate.Placement?.Constraints).to.deep.equal(["node.id==held-by-skep"]);
    job.TaskTemplate = seenBefore.services["migration"]?.TaskTemplate ?? expect.fail("there was a job");
    expect(now).to.deep.equal(seenBefore);
  });

  it("has the content of volumes and secrets, and is autolocked as it was", async () => {
    await expectContent(fresh, uploads);
  });

  it("runs what the registry gave with the inventory's password, and what was loaded, with nobody's help", async () => {
    const images = await fresh.run(["docker", "ps", "--format", "{{.Names}} {{.Image}}"]);
    expect(images).to.match(/^kept\.1\.\S+ localhost:5000\/kept/m);
    expect(images).to.contain(lostName());
    const report = await rebuildReport(journal);
    expect(report.mappings.join("\n")).to.contain("skep-lab/node:24 was loaded from the store on m1");
  });

  it("backs itself up again into the same repository, with the new controller key", async () => {
    await expectBackupAgain(cluster);
  });
});
