import { expect } from "chai";
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BackupDocument, RecoveryRunDocument } from "../../controller/cli/documents.ts";
import type { CommandResult } from "../lab/command.ts";
import type { Probe } from "../../controller/recovery/probe/probes.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { skepImages } from "../lab/skep-image.ts";
import { updateInSwarm } from "../lab/swarm.ts";
import { Cluster } from "./cluster.ts";
import {
  databaseVolume,
  deployApplication,
  signingKey,
  until,
  uploadsVolume,
  witness,
} from "./recovery/application.ts";
import { deployNotes, libraryFolder, notesText, notesVolume } from "./recovery/notes.ts";
import { describeTree, volumePath } from "./volumes.ts";

const registryFolder = "/etc/docker/certs.d/hub.example:5000";

describe("a swarm of three nodes that burned", function () {
  this.timeout(420_000);
  let cluster: Cluster;
  let folder: string;
  let seenBefore: unknown;
  let uploads: string;
  let runId: string;
  let fresh: LabNode[];
  let inventory: string;

  /** Old hostname by new: node1 → node4 and so on. */
  const hosts = new Map([
    ["node4", "node1"],
    ["node5", "node2"],
    ["node6", "node3"],
  ]);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "skep-recovery-"));
    cluster = await Cluster.up({ nodes: 3, managers: 3, stack: { SKEP_REDIS_PLACEMENT: "node.hostname == node1" } });
    await updateInSwarm(cluster.manager, ["swarm", "update", "--autolock=true"]);
    await deployApplication(cluster.lab.nodes, nodeImage().tag);
    // How the second node's engine is set up: it need not be restarted for that to be backed up.
    const settings = JSON.stringify({ "storage-driver": "overlay2", "shutdown-timeout": 5, labels: ["rack=7"] });
    const second = cluster.lab.node(1);
    await mkdir(second.hostPath(registryFolder), { recursive: true });
    await writeFile(second.hostPath(`${registryFolder}/ca.crt`), "an authority", { mode: 0o640 });
    await writeFile(second.hostPath("/etc/docker/daemon.json"), settings);
    await deployNotes(cluster.manager, nodeImage().tag);
    await cluster.deploy();
    await cluster.ready();
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    expect(run?.status, JSON.stringify(run?.parts.filter(({ status }) => status !== "done"))).to.equal("done");
    runId = run?.id ?? "";
    seenBefore = await witness(cluster.manager, new Map());
    uploads = await describeTree(cluster.lab.node(2), uploadsVolume);
  });
  after(async () => {
    await cluster.down();
    await rm(folder, { recursive: true, force: true });
  });

  const recover = async (argv: readonly string[], tolerant = false): Promise<CommandResult> =>
    await cluster.skep(["recover", ...argv, "--identity", cluster.identity], { tolerant });

  /** From each machine the overlay of all; a port where it runs; of ingress, behind which nobody listens, nothing is claimed. */
  const expectProbed = (probes: readonly Probe[]): void => {
    const machinesOf = (subject: string, state: Probe["state"]): string[] =>
      probes.filter((probe) => probe.subject === subject && probe.state === state).map(({ machine }) => machine);
    const text = JSON.stringify(probes, null, 1);
    expect(probes.filter(({ state }) => state === "failed")).to.deep.equal([]);
    expect(machinesOf("shop_inside", "answers"), text).to.have.members(["m1", "m2", "m3"]);
    expect(machinesOf("skep_skep", "answers"), text).to.have.members(["m1", "m2", "m3"]);
    expect(machinesOf("skep_controller 8420/tcp", "answers"), text).to.have.length(1);
    expect(machinesOf("shop_sidecar 18080/tcp", "skipped"), text).to.have.members(["m1", "m2", "m3"]);
    // Across machines: the web service is on the third alone.
    const asked = probes.find(({ subject, machine }) => subject === "shop_inside" && machine === "m1");
    expect(asked?.detail).to.contain("tasks.shop_web").and.contain("(m3)");
  };

  const writeInventory = async (): Promise<void> => {
    const lines: string[] = [];
    for (const [index, node] of fresh.entries()) {
      const { operator, hostKey } = await node.ssh();
      const way = index === 0 ? "user: root, sudo: false" : `user: ${operator.user}, sudo: true`;
      lines.push(`  m${index + 1}: { address: ${node.address}, role: manager, ${way}, hostKey: "${hostKey}" }`);
    }
    const { operator } = await (fresh[0] ?? cluster.manager).ssh();
    await writeFile(join(folder, "sudo-password"), operator.password, { mode: 0o600 });
    await writeFile(
      inventory,
      `version: 1
ssh: { key: ${operator.privateKeyPath}, sudoPasswordFile: sudo-password }
machines:
${lines.join("\n")}
nodes: { node1: m1, node2: m2, node3: m3 }
`,
    );
  };

  it("is not rebuilt while one of its managers is alive", async () => {
    const images = [...(await skepImages()), redisImage("skep-lab/redis:7")];
    for (let count = 0; count < hosts.size; count++) await cluster.lab.addNode({ images });
    fresh = cluster.lab.nodes.slice(3);
    inventory = join(folder, "inventory.yml");
    await writeInventory();
    const journal = join(folder, "journal-alive");
    const result = await recover(["run", "--inventory", inventory, "--journal", journal, "--yes"], true);
    expect(result.code, result.stderr).to.equal(1);
    expect(result.stderr).to.contain("SKEP_RECOVERY_OLD_MANAGER_ALIVE").and.contain("node2");
    for (const node of fresh) {
      expect((await node.run(["docker", "volume", "ls", "--quiet"])).trim()).to.equal("");
      expect((await node.run(["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"])).trim()).to.equal("inactive");
    }
  });

  it("comes back on three other machines by one command, each object as it was", async () => {
    for (const node of cluster.lab.nodes.slice(0, 3)) await cluster.lab.burn(node);
    const journal = join(folder, "journal");
    const result = await recover(
      ["run", "--inventory", inventory, "--journal", journal, "--apply-node-facts", "--yes", "--json"],
      true,
    );
    const document = JSON.parse(result.stdout) as RecoveryRunDocument;
    expect(result.code, `${result.stderr}\n${JSON.stringify(document.report?.objects)}`).to.equal(0);
    const report = document.report ?? expect.fail("no report");
    expect(report.outcome).to.equal("complete");
    console.log(
      `      RTO ${(report.rtoMs / 1000).toFixed(1)} s: ${report.phases.map(({ phase, ms }) => `${phase} ${(ms / 1000).toFixed(1)} s`).join(", ")}`,
    );
    expectProbed(report.probes);
    expect(await witness(fresh[0] ?? cluster.manager, hosts)).to.deep.equal(seenBefore);
    expect(await readFile(join(journal, "report.md"), "utf8")).to.contain("**RTO");
  });

  it("has its volumes as they were taken, and a database that goes on from its rows", async () => {
    const [, second, third] = fresh;
    if (second === undefined || third === undefined) return expect.fail("three nodes");
    expect(await describeTree(third, uploadsVolume)).to.equal(uploads);
    await until("the database opened with the rows that were committed", async () => {
      const { stdout } = await cluster.manager.exec(["docker", "service", "logs", "--raw", "shop_database"]);
      return [...stdout.matchAll(/opened with (\d+) committed rows/g)].some(([, rows]) => Number(rows) > 10);
    });
    const { stdout } = await second.exec(["docker", "volume", "inspect", databaseVolume]);
    expect(stdout).to.contain("the ledger");
  });

  it("has loaded the dump into its service, and put a volume that is a folder of the host by its options there", async () => {
    const first = fresh[0] ?? cluster.manager;
    expect(await readFile(join(volumePath(first, notesVolume), "text"), "utf8")).to.equal(notesText);
    const folder = first.hostPath(libraryFolder);
    expect(await readFile(join(folder, "shelf/book"), "utf8")).to.equal("a book");
    expect((await stat(folder)).mode & 0o777).to.equal(0o750);
    const options = ["docker", "volume", "inspect", "--format", "{{json .Options}}", "library"];
    expect(JSON.parse(await first.run(options))).to.deep.equal({ type: "none", o: "bind", device: libraryFolder });
  });

  it("has its secrets with their data, its job still ended, and is autolocked with the same key", async () => {
    const [first, , third] = fresh;
    if (first === undefined || third === undefined) return expect.fail("three nodes");
    const id = (await third.run(["docker", "ps", "--quiet", "--filter", "name=shop_web"])).split("\n")[0] ?? "";
    expect(await third.run(["docker", "exec", id, "cat", "/run/secrets/signing_key"])).to.equal(signingKey);
    const services = await first.run(["docker", "service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
    expect(services).to.match(/^migration .*\(1\/1 completed\)/m);
    const autolock = ["docker", "info", "--format", "{{.Swarm.Cluster.Spec.EncryptionConfig.AutoLockManagers}}"];
    expect((await first.run(autolock)).trim()).to.equal("true");
  });

  it("has an engine that is set up as that of the node whose place it takes, and the others as they were", async () => {
    const [first, second] = fresh;
    if (first === undefined || second === undefined) return expect.fail("three nodes");
    const labels = ["docker", "info", "--format", "{{json .Labels}}"];
    expect((await second.run(labels)).trim()).to.equal('["rack=7"]');
    expect((await first.run(labels)).trim()).to.equal("[]");
    const certificate = second.hostPath(`${registryFolder}/ca.crt`);
    expect(await readFile(certificate, "utf8")).to.equal("an authority");
    expect((await stat(certificate)).mode & 0o777).to.equal(0o640);
    expect(await readdir(second.hostPath("/etc/docker"))).to.satisfy((names: string[]) =>
      names.some((name) => name.startsWith("daemon.json.before-")),
    );
  });

  it("leaves nothing of Skep's kit on the machines", async () => {
    for (const node of fresh) expect((await node.exec(["ls", "/var/lib/skep-recovery"])).code).to.not.equal(0);
  });

  it("backs itself up again into the same repository, and the dead swarm's controller may not", async () => {
    await cluster.ready(3);
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    expect(run?.status, JSON.stringify(run?.parts.filter(({ status }) => status !== "done"))).to.equal("done");
    expect(run?.incarnation).to.equal(2);
    const standalone = ["backup", "--standalone", "--docker-socket", fresh[0]?.dockerSocketPath ?? ""];
    const fenced = await cluster.skep(standalone, { tolerant: true });
    expect(fenced.code).to.not.equal(0);
    expect(fenced.stderr).to.match(/SKEP_(REPOSITORY_FENCED|CONTROLLER_KEY_DOES_NOT_FIT)/);
    const shown = await cluster.skep(["show", runId, "--from-store", "--identity", cluster.identity]);
    expect(shown.stdout).to.contain(runId);
  });
});
