import { generateX25519Identity } from "age-encryption";
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { BackupDocument, RecoveryPlanDocument } from "../../controller/cli/documents.ts";
import type { RecoveryReport } from "../../controller/recovery/report.ts";
import type { Run } from "../../shared/repository/run.ts";
import { nodeImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { Cluster } from "./cluster.ts";
import { rollBack, until, witness } from "./recovery/application.ts";
import { installTools } from "./recovery/installed-tools.ts";
import { journalLines, killedRun } from "./recovery/killed-run.ts";
import { readWithoutSkep, shellBlocks } from "./recovery/runbook-blocks.ts";
import { ProcessWatch, secretBytes, secretsOf, secretsOnDisks, type Secret } from "./recovery/secret-search.ts";
import { expectUntouched, momentOn } from "./recovery/untouched.ts";
import { expectOtherKeys, swarmKeys } from "./recovery/swarm-keys.ts";
import { describeTree, makeVolume } from "./volumes.ts";

describe("an autolocked swarm of one node that burned", function () {
  this.timeout(720_000);
  let cluster: Cluster;
  let fresh: LabNode;
  let journal: string;
  let tree: string;
  let seenBefore: unknown;
  let whileItLived: RecoveryPlanDocument;
  let run: Run;
  let secrets: Secret[];
  /** What was seen while it was killed again and again. */
  let begunAt: string;
  let watch: ProcessWatch;
  let amid: string[];
  let keysBefore: string[];
  const rotating = ["--rotate", "tokens,unlock-key,ca"];

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
    const backup = ["backup", "--standalone", "--state-dir", join(cluster.folder, "state"), ...place];
    run = (await cluster.skepJson<BackupDocument>(backup)).run ?? expect.fail("no run");
    keysBefore = await swarmKeys(node);
    whileItLived = await planOnItself(node);
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

  /** What a plan says where the old node still runs, with a service on it that was made after the run. */
  const planOnItself = async (node: LabNode): Promise<RecoveryPlanDocument> => {
    const late = ["docker", "service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", "late"];
    await node.run([...late, "--endpoint-mode", "dnsrr", nodeImage().tag, "sleep", "100000"]);
    await until("the late one runs", async () => (await node.run(["docker", "ps"])).includes("late.1."));
    const { hostKey, root } = await node.ssh();
    const inventory = join(cluster.folder, "living.yml");
    const machine = `{ address: ${node.address}, role: manager, hostKey: "${hostKey}" }`;
    await writeFile(
      inventory,
      `version: 1\nssh: { key: ${root.privateKeyPath} }\nmachines: { m1: ${machine} }\nnodes: { node1: m1 }\n`,
    );
    const argv = ["recover", "plan", "--inventory", inventory, "--identity", cluster.identity, "--json"];
    return JSON.parse((await cluster.skep(argv, { tolerant: true })).stdout) as RecoveryPlanDocument;
  };

  /** Kills it once a step begins that is not in `killed`, and adds it; false where it came to its end. */
  const attempt = async (killed: Set<string>): Promise<boolean> => {
    const inventory = join(cluster.folder, "inventory.yml");
    const step = await killedRun(cluster, { journal, inventory, argv: rotating }, (begun) => !killed.has(begun));
    if (step !== null) killed.add(step);
    return step !== null;
  };

  it("had a plan that named the one task on it that was newer than the copy, and until when the copy reaches", () => {
    const { newerTasks, stateChangedAt, findings, takenAt } = whileItLived;
    expect(newerTasks.map(({ machine, node, service }) => [machine, node, service])).to.deep.equal([
      ["m1", "node1", "late"],
    ]);
    const [task] = newerTasks;
    const changedAt = Date.parse(stateChangedAt ?? "");
    expect(Date.parse(task?.startedAt ?? "")).to.be.above(changedAt);
    expect(changedAt).to.be.within(Date.parse(takenAt) - 300_000, Date.parse(takenAt) + 60_000);
    const text = findings.find(({ code }) => code === "task-newer")?.text;
    expect(text).to.contain("late on node1").and.contain("does not come back");
  });

  it("comes back by hand: the commands of docs/RUNBOOK.md and of the run's own runbook, as they stand, without Skep", async () => {
    const byHand = await cluster.lab.addNode({ images: [nodeImage()] });
    await installTools(byHand, ["age", "zstd", "curl", "python3"]);
    await byHand.run(["ln", "-s", "/bin/busybox", "/usr/local/bin/less"]);
    const runbook = await readWithoutSkep(cluster, byHand);
    const { stdout } = await cluster.skep(["runbook", "latest", "--identity", cluster.identity]);
    expect(stdout.trimEnd()).to.equal(runbook.trimEnd());
    const { accessKeyId, secretAccessKey } = await cluster.lab.s3.credentials();
    const folder = byHand.hostPath("/root/skep-by-hand");
    await mkdir(folder, { mode: 0o700 });
    await cp(cluster.identity, join(folder, "identity.txt"));
    await writeFile(join(folder, "s3.curl"), `user = "${accessKeyId}:${secretAccessKey}"\n`, { mode: 0o600 });
    const commands = shellBlocks(runbook);
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

  /** What it said. */
  const refused = async (exitCode: number, argv: readonly string[], identity = cluster.identity): Promise<string> => {
    const refusedJournal = join(cluster.folder, "journal-refused");
    const all = ["--inventory", join(cluster.folder, "inventory.yml"), "--journal", refusedJournal, "--yes"];
    const moment = await momentOn(fresh);
    const result = await cluster.skep(["recover", "run", ...all, ...argv, "--identity", identity], {
      tolerant: true,
    });
    expect(result.code, result.stderr).to.equal(exitCode);
    expect(existsSync(refusedJournal)).to.be.false;
    await expectUntouched(fresh, moment);
    return result.stderr;
  };

  it("is not touched by a recovery with another identity", async () => {
    const identity = join(cluster.folder, "identity-of-another.txt");
    const text = await readFile(cluster.identity, "utf8");
    await writeFile(identity, text.replace(/^AGE-SECRET-KEY-.*$/m, await generateX25519Identity()));
    expect(await refused(12, [], identity)).to.contain("SKEP_IDENTITY_DOES_NOT_FIT");
  });

  it("is not touched by a recovery from a run that there is not, or from one without Raft state", async () => {
    expect(await refused(1, ["--run", "20200102-030405-abcdef"])).to.contain("SKEP_RUN_UNKNOWN");
    const place = ["--docker-socket", fresh.dockerSocketPath, "--host-root", dirname(fresh.hostPath("/run"))];
    const backup = ["backup", "--standalone", "--state-dir", join(cluster.folder, "state-alone"), ...place, "--json"];
    const { run: alone } = JSON.parse((await cluster.skep(backup, { tolerant: true })).stdout) as BackupDocument;
    const said = await refused(1, ["--run", alone?.id ?? ""]);
    expect(said).to.contain("SKEP_RECOVERY_NO_RAFT").and.contain(alone?.id);
  });

  it("is not touched by a recovery for which its disk is too small", async () => {
    const docker = async (what: string): Promise<unknown> =>
      await fresh.run(["systemctl", what, "docker.service", "docker.socket"]);
    await docker("stop");
    await fresh.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=710", "small", "/var/lib/docker"]);
    try {
      await docker("start");
      const said = await refused(1, []);
      expect(said).to.contain("SKEP_RECOVERY_REFUSED");
      expect(said).to.match(/m1 has \d+ bytes free in \/var\/lib\/docker, its volumes and images need \d+/);
    } finally {
      await docker("stop");
      await fresh.run(["umount", "/var/lib/docker"]);
      await docker("start");
    }
  });

  it("comes back by `skep recover`, killed at every step: it goes on each time, and does nothing twice", async () => {
    const killed = new Set<string>();
    let attempts = 1;
    secrets = await secretsOf(cluster, run);
    begunAt = await momentOn(fresh);
    watch = new ProcessWatch(fresh, secrets);
    try {
      while (await attempt(killed)) {
        expect(++attempts).to.be.below(30);
        // Its volumes are there, and so is still all that brought them.
        if ([...killed].at(-1) === "take-over") amid = await secretsOnDisks(fresh, secrets, begunAt);
      }
    } finally {
      await watch.stop();
    }
    expect([...killed]).to.include.members([
      "fence",
      "kit:m1",
      "volume:m1:node1/data",
      "take-over",
      "swarm",
      "release:1",
      "rotate:ca",
    ]);
    const done = (await journalLines(journal)).filter(({ event }) => event === "done").map(({ step }) => step);
    expect(done).to.have.length(new Set(done).size);
    expect(done).to.include.members([...killed, "rotate:tokens", "rotate:unlock-key"]);
    const report = JSON.parse(await readFile(join(journal, "report.json"), "utf8")) as RecoveryReport;
    expect(report.outcome).to.equal("complete");
    expect(await runs(fresh)).to.be.true;
    expect(await describeTree(fresh, "data")).to.equal(tree);
    // One task in all: nothing let it go a second time.
    const tasks = await fresh.run(["docker", "service", "ps", "--quiet", "keeper"]);
    expect(tasks.trim().split("\n")).to.have.length(1);
    expect((await fresh.exec(["ls", "/var/lib/skep-recovery"])).code).to.not.equal(0);
  });

  it("had no key of a backup, and none of the store, on its disks, nor in arguments or environment of a program", async () => {
    expect(amid).to.deep.equal([]);
    expect(await secretsOnDisks(fresh, secrets, begunAt)).to.deep.equal([]);
    expect([...watch.found]).to.deep.equal([]);
    expect([...watch.programs].filter((program) => program.endsWith("/kit/bin/node"))).to.have.length(1);
  });

  it("would have been found with a key on it, wherever that were", async () => {
    const canary = secretBytes("a canary", randomBytes(32).toString("base64"));
    const [bytes, text] = canary.forms;
    if (bytes === undefined || text === undefined) return expect.fail("bytes and text");
    const planted = "/var/lib/docker/volumes/canary";
    const paths = [planted, "/root/canary", "/tmp/canary"];
    for (const path of paths)
      await writeFile(fresh.hostPath(path), Buffer.concat([Buffer.alloc(4 * 1024 * 1024 - 7), bytes]));
    await fresh.run(["systemd-cat", "echo", `${"long ".repeat(500)}${text.toString()}`]);
    const places = [...paths, "the journal"].map((place) => `a canary in ${place}`);
    expect(await secretsOnDisks(fresh, [canary], begunAt)).to.include.members(places);
    const ofProcesses = new ProcessWatch(fresh, [canary]);
    const asArgument = ["sh", "-c", "sleep 1; exit 0", text.toString()];
    await Promise.all([fresh.run(["sleep", "1"], { env: { KEY: text.toString() } }), fresh.run(asArgument)]);
    await ofProcesses.stop();
    expect([...ofProcesses.found]).to.include.members([
      "a canary in the environment of sleep",
      "a canary in the arguments of sh",
    ]);
    await fresh.run(["rm", ...paths]);
  });

  it("has other tokens, another unlock key, which lies beside the report alone, and another CA", async () => {
    await expectOtherKeys(fresh, keysBefore, journal);
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
