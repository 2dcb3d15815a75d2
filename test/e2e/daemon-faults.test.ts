// What goes wrong at a user's place, met through the daemons: each fault ends with a code, a message that names the thing
// and the place, and a hint; and when it is put right nothing was lost. test/e2e/bad-input does the same without a controller.
import { PutBucketPolicyCommand } from "@aws-sdk/client-s3";
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { backupDocument, type BackupDocument } from "../../controller/cli/documents.ts";
import type { Part, Run } from "../../shared/repository/run.ts";
import { command, type CommandResult } from "../lab/command.ts";
import { Cluster } from "./cluster.ts";
import { describeTree, makeVolume, volumePath } from "./volumes.ts";

const failureSchema = z.strictObject({
  error: z.strictObject({ code: z.string(), message: z.string(), permanent: z.boolean(), hint: z.string().min(1) }),
});

/** The error that the CLI printed, for programs and for people alike. */
function failureOf(result: CommandResult): z.infer<typeof failureSchema>["error"] {
  expect(result.code, result.stderr).to.not.equal(0);
  const { error } = failureSchema.parse(JSON.parse(result.stdout));
  for (const said of [error.message, error.hint, error.code]) expect(result.stderr).to.contain(said);
  return error;
}

function partOf(run: Run, name: string): Part {
  const found = run.parts.find((part) => part.name === name);
  return found ?? expect.fail(`run ${run.id} has no part ${name}: ${run.parts.map((part) => part.name).join(", ")}`);
}

function errorOf(part: Part): NonNullable<Part["error"]> {
  const error = part.error ?? expect.fail(`${part.name} is ${part.status} and has no error`);
  expect(error.hint, error.message).to.be.a("string");
  return error;
}

describe("what goes wrong below the daemons", function () {
  this.timeout(240_000);
  let cluster: Cluster;
  const agentState = "/var/lib/docker/volumes/skep_agent_state/_data";

  before(async () => {
    const policy = "version: 1\nlimits: { bytesPerSecondPerNode: 20000000 }\n";
    cluster = await Cluster.up({ nodes: 1, managers: 1, policy, bucketOptions: { versioning: true } });
    await applyPolicy();
    await giveStateADisk();
    await makeVolume(cluster.manager, "www", { "index.html": "<h1>hello</h1>", big: randomBytes(300_000) });
    await writeKit("controller-store.json", {});
    await writeKit("agent-store.json", { secretAccessKey: "thisIsNotTheSecretOfThatKey00000000000000" });
    await cluster.deploy();
    await cluster.ready();
  });
  after(() => cluster.down());

  /** A disk of 64 MB below the agent's state, which stays when the agent is replaced. */
  async function giveStateADisk(): Promise<void> {
    const image = "/srv/agent-state.img";
    await writeFile(cluster.manager.hostPath(image), "");
    await truncate(cluster.manager.hostPath(image), 64 * 2 ** 20);
    await command(["mkfs.ext4", "-q", cluster.manager.hostPath(image)]);
    await cluster.manager.run(["docker", "volume", "create", "skep_agent_state"]);
    await cluster.manager.run([
      "sh",
      "-euc",
      `[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
       for at in 0 1 2 3 4 5 6 7; do [ -e /dev/loop$at ] || mknod /dev/loop$at b 7 $at; done
       mount -o loop ${image} ${agentState}`,
    ]);
  }

  /** Users of S3 by name, and what each may do: as docs/STORES.md has it. */
  async function applyPolicy(): Promise<void> {
    const { s3 } = cluster.lab;
    for (const user of ["controller", "agents", "reader"]) await s3.createUser(user);
    const page = await readFile(join(import.meta.dirname, "../../docs/STORES.md"), "utf8");
    const shown = /^The policy of a Ceph bucket[^]*?```json\n([^]*?)```/m.exec(page)?.[1];
    const Policy = (shown ?? expect.fail("docs/STORES.md shows no policy"))
      .replaceAll("BUCKET", cluster.bucket)
      .replaceAll("user/owner", "user/full");
    const client = s3.client(await s3.credentials());
    await client.send(new PutBucketPolicyCommand({ Bucket: cluster.bucket, Policy }));
    client.destroy();
  }

  async function writeKit(file: "controller-store.json" | "agent-store.json", wrong: object): Promise<void> {
    const right = await cluster.lab.s3.credentials(file === "agent-store.json" ? "agents" : "controller");
    await writeFile(join(cluster.kit, file), JSON.stringify({ ...right, ...wrong }), { mode: 0o600 });
  }

  async function backup(): Promise<{ run: Run; result: CommandResult }> {
    const result = await cluster.skep(["backup", "--wait", "--json"], { tolerant: true });
    expect(result.stdout, result.stderr).to.not.equal("");
    const { run } = backupDocument.parse(JSON.parse(result.stdout));
    return { run: run ?? expect.fail(result.stderr), result };
  }

  async function backupWhole(): Promise<Run> {
    const { run } = await backup();
    const faults = run.parts.flatMap(({ name, error }) => (error === undefined ? [] : [`${name}: ${error.message}`]));
    expect(run.status, faults.join("\n")).to.equal("done");
    return run;
  }

  it("fails every part, and says why, where the agents' secret access key is wrong", async () => {
    const { run, result } = await backup();
    expect(result.code).to.equal(1);
    expect(run.status).to.equal("failed");
    for (const name of run.parts.map((part) => part.name)) {
      const error = errorOf(partOf(run, name));
      expect(error).to.include({ code: "SKEP_STORE_DENIED", permanent: true });
      expect(error.message).to.contain("s3://backups").and.contain("secret access key");
    }
    expect((await cluster.skep(["show", run.id], { tolerant: true })).stdout).to.contain("secret access key");
  });

  it("makes a whole run once the kit is put right and deployed again, with keys that may only create", async () => {
    await writeKit("agent-store.json", {});
    const services = ["agent", "controller"] as const;
    const containers = (): Promise<(string | null)[]> =>
      Promise.all(services.map((service) => cluster.containerOn(cluster.manager, service)));
    const former = await containers();
    await cluster.deploy({ SKEP_KIT_VERSION: "2" });
    const deadline = Date.now() + 90_000;
    for (;;) {
      const present = await containers();
      if (present.every((id, at) => id !== null && id !== former[at])) break;
      if (Date.now() > deadline) expect.fail("agent and controller were not replaced within 90 s");
      await sleep(500);
    }
    await cluster.ready();
    await backupWhole();
    const { findings } = await cluster.skepJson<{ findings: { code: string; level: string }[] }>(["doctor"]);
    const codes = findings.map(({ code }) => code);
    expect(codes).to.include("SKEP_DOCTOR_AGENT_CREDENTIALS").and.not.include("SKEP_DOCTOR_AGENTS_DESTROY");
  });

  it("restores with credentials that travel sealed with the keys, and says so where they are needed", async () => {
    const tree = await describeTree(cluster.manager, "www");
    const restore = ["restore", "volume", "node1/www", "--yes", "--json", "--identity", cluster.identity];
    const denied = failureOf(await cluster.skep(restore, { tolerant: true }));
    expect(denied).to.include({ code: "SKEP_STORE_DENIED", permanent: true });
    expect(denied.hint).to.contain("--read-credentials");
    expect(await describeTree(cluster.manager, "www")).to.equal(tree);
    await restoreReading(["node1/www"]);
    expect(await describeTree(cluster.manager, "www")).to.equal(tree);
  });

  async function restoreReading(argv: readonly string[]): Promise<void> {
    const file = join(cluster.folder, "reader.json");
    await writeFile(file, JSON.stringify(await cluster.lab.s3.credentials("reader")), { mode: 0o600 });
    const how = ["--yes", "--identity", cluster.identity, "--read-credentials", file];
    await cluster.skep(["restore", "volume", ...argv, ...how]);
  }

  it("refuses an invalid policy with all its faults, and goes on with the one in force", async () => {
    const before = await cluster.skepJson<{ version: number }>(["policy", "show"]);
    const file = join(cluster.folder, "bad-policy.yml");
    await writeFile(
      file,
      'version: 1\nschedules:\n  - name: nightly\n    cron: "0 25 * * *"\nlimits: { nodesAtOnce: 0 }\n',
    );
    const error = failureOf(await cluster.skep(["policy", "set", file, "--json"], { tolerant: true }));
    expect(error).to.include({ code: "SKEP_POLICY_INVALID", permanent: true });
    expect(error.message)
      .to.match(/line 4: schedules\[0\]\.cron/)
      .and.match(/line 5: limits\.nodesAtOnce/);
    expect(await cluster.skepJson(["policy", "show"])).to.deep.equal(before);
  });

  it("changes nothing with a wrong identity, and stands in no other restore's way", async () => {
    const tree = await describeTree(cluster.manager, "www");
    const other = join(cluster.folder, "other");
    const store = ["--store", `file://${join(cluster.folder, "other-store")}`];
    await cluster.skep(["init", "--no-stored-kit", ...store, "--operator", "bert", "--out", other], { kit: false });
    const restore = ["restore", "volume", "node1/www", "--yes", "--json", "--identity"];
    const wrong = await cluster.skep([...restore, join(other, "identity-bert.txt")], { tolerant: true });
    expect(wrong.code).to.equal(12);
    expect(failureOf(wrong).code).to.equal("SKEP_IDENTITY_DOES_NOT_FIT");
    expect(await describeTree(cluster.manager, "www")).to.equal(tree);
    await restoreReading(["node1/www"]);
    expect(await describeTree(cluster.manager, "www")).to.equal(tree);
  });

  it("fails a volume that is removed while it is read, takes the others, and brings it back", async () => {
    await makeVolume(cluster.manager, "orders", { rows: "kept" });
    const tree = await describeTree(cluster.manager, "orders");
    const first = await backupWhole();
    // By the policy's limit this takes ten seconds to read; the volume goes meanwhile.
    await writeFile(join(volumePath(cluster.manager, "orders"), "a-large-file"), randomBytes(100_000_000));
    const runId = await beginReading("node1/orders");
    await cluster.manager.run(["docker", "volume", "rm", "orders"]);
    const run = await endOf(runId);
    expect(run.status).to.equal("partial");
    expect(errorOf(partOf(run, "node1/orders"))).to.include({ code: "SKEP_SOURCE_VOLUME_GONE", permanent: true });
    expect(partOf(run, "node1/www").status).to.equal("done");
    await restoreReading(["node1/orders", "--run", first.id]);
    expect(await describeTree(cluster.manager, "orders")).to.equal(tree);
  });

  /** Starts a run; resolves once the volume is being read. */
  async function beginReading(name: string): Promise<string> {
    const { runId } = await cluster.skepJson<BackupDocument>(["backup"]);
    const deadline = Date.now() + 60_000;
    while (Date.now() < deadline) {
      const answer = await cluster.runOf(runId);
      if (!("progress" in answer)) return expect.fail(`run ${runId} ended before ${name} was read`);
      const part = answer.progress.parts.find((each) => each.name === name);
      // What is done counts whole files: of a single large one nothing, until all of it was read.
      if (part?.progress?.phase === "reading") return runId;
      await sleep(200);
    }
    return expect.fail(`${name} was not read within 60 s`);
  }

  async function endOf(runId: string): Promise<Run> {
    const deadline = Date.now() + 120_000;
    while (Date.now() < deadline) {
      // The store that is away may be what it is asked from.
      const answer = await cluster.runOf(runId).catch(() => null);
      if (answer !== null && "run" in answer) return answer.run;
      await sleep(500);
    }
    return expect.fail(`run ${runId} did not end within 120 s`);
  }

  it("goes on where the store hung in the middle of a run and answers again", async () => {
    await writeFile(join(volumePath(cluster.manager, "www"), "late"), randomBytes(30_000_000));
    const runId = await beginReading("node1/www");
    await cluster.lab.s3.suspend();
    await sleep(5000);
    await cluster.lab.s3.resume();
    expect((await endOf(runId)).status).to.equal("done");
  });

  it("fails what a full disk below the agent's state stops, and says which disk", async () => {
    await cluster.manager.exec(["dd", "if=/dev/zero", `of=${agentState}/filler`, "bs=64k"]);
    const { run, result } = await backup();
    expect(result.code).to.be.oneOf([1, 3]);
    const failed = run.parts.filter((part) => part.error !== undefined);
    expect(failed.map((part) => part.kind)).to.include("raft");
    for (const part of failed) {
      expect(errorOf(part).code).to.match(/^SKEP_(STATE|RAFT)_/);
      expect(errorOf(part).message).to.contain("/var/lib/skep");
    }
    await cluster.manager.run(["rm", `${agentState}/filler`]);
    await backupWhole();
  });
});
