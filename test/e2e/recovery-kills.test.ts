import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { RecoveryReport } from "../../controller/recovery/report.ts";
import { nodeImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { Cluster } from "./cluster.ts";
import { rollBack, until, witness } from "./recovery/application.ts";
import { installTools } from "./recovery/installed-tools.ts";
import { journalLines, killedRun } from "./recovery/killed-run.ts";
import { describeTree, makeVolume } from "./volumes.ts";

describe("an autolocked swarm of one node that burned", function () {
  this.timeout(420_000);
  let cluster: Cluster;
  let fresh: LabNode;
  let journal: string;
  let tree: string;
  let seenBefore: unknown;

  before(async () => {
    cluster = await Cluster.up({ nodes: 1, managers: 1 });
    const node = cluster.manager;
    await node.run(["docker", "swarm", "update", "--autolock=true"]);
    await node.run(["sh", "-c", "echo hunter2 | docker secret create password -"]);
    await makeVolume(node, "data", { rows: randomBytes(2_000_000), "deep/er": "x" });
    const service = ["docker", "service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", "keeper"];
    const mount = ["--mount", "type=volume,source=data,target=/data", "--constraint", "node.hostname == node1"];
    await node.run([...service, ...mount, "--endpoint-mode", "dnsrr", nodeImage().tag, "sleep", "100000"]);
    await until("the service runs", async () => await runs(node));
    tree = await describeTree(node, "data");
    seenBefore = await witness(node, new Map());
    const place = ["--docker-socket", node.dockerSocketPath, "--host-root", dirname(node.hostPath("/run"))];
    await cluster.skep(["backup", "--standalone", "--state-dir", join(cluster.folder, "state"), ...place]);
    await cluster.lab.burn(node);
    fresh = await cluster.lab.addNode({ images: [nodeImage()] });
    const { hostKey, root } = await fresh.ssh();
    await writeFile(
      join(cluster.folder, "inventory.yml"),
      `version: 1
ssh: { key: ${root.privateKeyPath} }
machines:
  m1: { address: ${fresh.address}, role: manager, hostKey: "${hostKey}" }
nodes: { node1: m1 }
`,
    );
    journal = join(cluster.folder, "journal");
  });
  after(() => cluster.down());

  const runs = async (node: LabNode): Promise<boolean> =>
    /^keeper 1\/1/m.test((await node.exec(["docker", "service", "ls", "--format", "{{.Name}} {{.Replicas}}"])).stdout);

  /** Kills it once a step begins that is not in `killed`, and adds it; false where it came to its end. */
  const attempt = async (killed: Set<string>): Promise<boolean> => {
    const inventory = join(cluster.folder, "inventory.yml");
    const step = await killedRun(cluster, { journal, inventory, argv: [] }, (begun) => !killed.has(begun));
    if (step !== null) killed.add(step);
    return step !== null;
  };

  it("comes back by hand: the runbook's commands, as they stand, on a machine that has no Skep", async () => {
    const byHand = await cluster.lab.addNode({ images: [nodeImage()] });
    await installTools(byHand, ["age", "zstd", "curl", "python3"]);
    const { accessKeyId, secretAccessKey } = await cluster.lab.s3.credentials();
    const folder = byHand.hostPath("/root/skep-by-hand");
    await mkdir(folder, { mode: 0o700 });
    await cp(cluster.identity, join(folder, "identity.txt"));
    await writeFile(join(folder, "s3.curl"), `user = "${accessKeyId}:${secretAccessKey}"\n`, { mode: 0o600 });
    const { stdout: runbook } = await cluster.skep(["runbook", "latest", "--identity", cluster.identity]);
    const commands = [...runbook.matchAll(/^```sh\n(.*?)^```/gms)].map(([, body]) => body ?? "");
    expect(commands).to.have.length(5);
    await byHand.run(["sh", "-euc", commands.join("\n")]);
    expect(await describeTree(byHand, "data")).to.equal(tree);
    expect(await witness(byHand, new Map([[byHand.name, "node1"]]))).to.deep.equal(seenBefore);
    const lock = ["docker", "info", "--format", "{{.Swarm.Cluster.Spec.EncryptionConfig.AutoLockManagers}}"];
    expect((await byHand.run(lock)).trim()).to.equal("true");
    const key = await readFile(byHand.hostPath("/var/lib/docker/swarm/certificates/swarm-node.key"), "utf8");
    expect(key).to.contain("ENCRYPTED");
    await cluster.lab.burn(byHand);
  });

  it("comes back by `skep recover`, killed at every step: it goes on each time, and does nothing twice", async () => {
    const killed = new Set<string>();
    let attempts = 1;
    while (await attempt(killed)) expect(++attempts).to.be.below(30);
    expect([...killed]).to.include.members([
      "fence",
      "kit:m1",
      "volume:m1:node1/data",
      "take-over",
      "swarm",
      "release:1",
    ]);
    const done = (await journalLines(journal)).filter(({ event }) => event === "done").map(({ step }) => step);
    expect(done).to.have.length(new Set(done).size);
    expect(done).to.include.members([...killed]);
    const report = JSON.parse(await readFile(join(journal, "report.json"), "utf8")) as RecoveryReport;
    expect(report.outcome).to.equal("complete");
    expect(await runs(fresh)).to.be.true;
    expect(await describeTree(fresh, "data")).to.equal(tree);
    // One task in all: nothing let it go a second time.
    const tasks = await fresh.run(["docker", "service", "ps", "--quiet", "keeper"]);
    expect(tasks.trim().split("\n")).to.have.length(1);
    expect((await fresh.exec(["ls", "/var/lib/skep-recovery"])).code).to.not.equal(0);
  });

  it("leaves a service that a rollback brings back to itself, not to its held state", async () => {
    const spec = ["docker", "service", "inspect", "--format", "{{json .Spec}}", "keeper"];
    const before = await fresh.run(spec);
    await rollBack(fresh, "keeper");
    expect(await fresh.run(spec)).to.equal(before);
    expect(await runs(fresh)).to.be.true;
  });

  it("says what is done when it is called once more, and touches nothing", async () => {
    const before = (await journalLines(journal)).length;
    expect(await attempt(new Set())).to.be.false;
    expect((await journalLines(journal)).length).to.equal(before);
  });
});
