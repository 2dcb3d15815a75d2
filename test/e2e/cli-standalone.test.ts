// `skep … --standalone` on a real Docker host: no controller, no Redis, no swarm; then the same host as a swarm manager.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { backupDocument, runsDocument } from "../../controller/cli/documents.ts";
import { restoreDocument } from "../../controller/cli/restore-documents.ts";
import type { Run } from "../../shared/repository/run.ts";
import { cliPath, runCli, type CliResult } from "../controller/cli/run-cli.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { describeHeld, describeQuiet } from "./standalone-quiet.ts";

describe("skep --standalone", () => {
  let lab: Lab;
  let node: LabNode;
  let folder: string;
  let host: string[];

  before(async function () {
    this.timeout(600_000);
    lab = await Lab.up({ nodes: 1, images: [nodeImage(), redisImage()] });
    node = lab.node("node1");
    folder = mkdtempSync(join(tmpdir(), "skep-standalone-"));
    host = [
      ...["--standalone", "--state-dir", join(folder, "state")],
      ...["--docker-socket", node.dockerSocketPath, "--host-root", dirname(node.hostPath("/run"))],
    ];
    for (const name of ["kit", "other"]) {
      const made = await cli(
        "init",
        "--no-stored-kit",
        "--store",
        `file://${folder}/${name}-store`,
        "--operator",
        "anna",
        "--out",
        name,
      );
      expect(made.code, made.stderr).to.equal(0);
    }
    for (const volume of ["db", "www"]) await node.run(["docker", "volume", "create", volume]);
    writeFileSync(file("db", "rows"), "committed\n".repeat(100_000));
    writeFileSync(file("www", "index.html"), "<h1>hello</h1>");
  });
  after(async () => {
    await lab.down();
    rmSync(folder, { recursive: true });
  });

  const file = (volume: string, name: string): string =>
    node.hostPath(join("/var/lib/docker/volumes", volume, "_data", name));
  const cli = (...argv: string[]): Promise<CliResult> => runCli(argv, { cwd: folder });
  const backup = async (...more: string[]): Promise<{ result: CliResult; run: Run }> => {
    const result = await cli("backup", "--kit", "kit", "--json", ...host, ...more);
    const { run } = backupDocument.parse(JSON.parse(result.stdout));
    if (run === null) throw new Error(result.stderr);
    return { result, run };
  };
  const restore = (...argv: string[]): Promise<CliResult> => cli("restore", ...argv, "--kit", "kit", "--yes", ...host);
  const kinds = (run: Run): string[] => run.parts.map(({ kind, name, status }) => `${kind} ${name} ${status}`);

  it("backs up the volumes of a host that is in no swarm, and says that there is no Raft part", async () => {
    const { result, run } = await backup();
    expect(result.code, result.stderr).to.equal(0);
    expect(result.stderr).to.contain("node1 is not in a swarm: no Raft part");
    expect(run).to.include({ status: "done", trigger: "standalone", clusterId: null });
    expect(run.nodes.map(({ hostname, role }) => [hostname, role])).to.deep.equal([["node1", "standalone"]]);
    expect(kinds(run)).to.deep.equal([
      "node node1 done",
      "volume node1/db done",
      "volume node1/www done",
      "runbook runbook done",
    ]);
    const shown = await cli("show", "--from-store", "--kit", "kit");
    expect(shown.stdout)
      .to.contain(`Run ${run.id}  done`)
      .and.match(/volume node1\/db +done +977 KiB/);
  });

  it("doctor looks at this host's engine instead of a controller", async () => {
    const { code, stdout, stderr } = await cli("doctor", "--kit", "kit", ...host);
    expect(code, stdout + stderr).to.equal(0);
    expect(stdout).to.contain("the Docker engine of node1 answers; it is in no swarm");
  });

  it("takes just the volumes that are named, and writes little of what is known", async () => {
    const { run } = await backup("--volumes", "d*");
    expect(run.status).to.equal("done");
    expect(kinds(run)).to.deep.equal(["node node1 done", "volume node1/db done", "runbook runbook done"]);
    expect(run.notCovered).to.deep.include({
      kind: "volume",
      name: "node1/www",
      hostname: "node1",
      reason: "not-selected",
      message: "the policy does not select it",
    });
    const db = run.parts.find(({ name }) => name === "node1/db");
    expect(db?.totals?.newBytes, "the file's chunks are there already").to.be.lessThan(10_000);
  });

  it("brings a lost volume back, undoes that, and makes it final", async () => {
    writeFileSync(file("db", "rows"), "garbage");
    const done = await restore("volume", "node1/db", "--json");
    expect(done.code, done.stderr).to.equal(0);
    const { restoreId, result, plan } = restoreDocument.parse(JSON.parse(done.stdout));
    expect(plan.target).to.include({ hostname: "node1", targetName: "db", exists: true });
    expect(result).to.deep.include({ keptOld: true, restoredBytes: 1_000_000 });
    expect(readFileSync(file("db", "rows"), "utf8")).to.equal("committed\n".repeat(100_000));
    const listed = await cli("restore", "list", "--kit", "kit", "--json", ...host);
    expect(JSON.parse(listed.stdout)).to.deep.equal({ restores: [{ restoreId, state: "done", targetName: "db" }] });
    const undone = await restore("undo", restoreId);
    expect(undone.code, undone.stderr).to.equal(0);
    expect(readFileSync(file("db", "rows"), "utf8")).to.equal("garbage");
    const twice = await restore("undo", restoreId);
    expect(twice.code).to.equal(1);
    expect(twice.stderr).to.contain("SKEP_RESTORE_UNKNOWN");

    await node.run(["docker", "volume", "rm", "db"]);
    const again = await restore("volume", "node1/db", "--json");
    expect(again.code, again.stderr).to.equal(0);
    const made = restoreDocument.parse(JSON.parse(again.stdout));
    expect(made.plan.target.exists).to.equal(false);
    expect(readFileSync(file("db", "rows"), "utf8")).to.have.length(1_000_000);
    expect((await restore("discard", made.restoreId)).code).to.equal(0);
    expect(existsSync(file("db", "rows"))).to.equal(true);
  });

  it("puts single files into a volume that lives on, and takes that back from the newest on", async () => {
    const rows = "committed\n".repeat(100_000);
    const into = (node: string): Promise<CliResult> =>
      restore("files", "latest:node1/db:rows", "--into", `${node}/db`, "--existing", "update", "--json");
    const ids: string[] = [];
    for (const damage of ["first", "second"]) {
      writeFileSync(file("db", "rows"), damage);
      const done = await into("node1");
      expect(done.code, done.stderr).to.equal(0);
      const { restoreId, result } = restoreDocument.parse(JSON.parse(done.stdout));
      expect(result).to.deep.include({ merged: { made: 0, replaced: 1, equal: 0, left: 0 } });
      expect(readFileSync(file("db", "rows"), "utf8")).to.equal(rows);
      ids.push(restoreId);
    }
    const [older = "", newer = ""] = ids;
    expect((await restore("undo", older)).stderr)
      .to.contain("SKEP_RESTORE_NEWER")
      .and.contain(newer);
    for (const id of [newer, older]) expect((await restore("undo", id)).code).to.equal(0);
    expect(readFileSync(file("db", "rows"), "utf8")).to.equal("first");
    expect((await into("elsewhere")).stderr).to.contain("SKEP_CLI_NODE_UNKNOWN");
    expect(
      (await restore("discard", (JSON.parse((await into("node1")).stdout) as { restoreId: string }).restoreId)).code,
    ).to.equal(0);
  });

  it("refuses while a container uses the volume, and restores beside it all the same", async () => {
    const idle = ["node", "-e", "setInterval(() => undefined, 1000)"];
    await node.run(["docker", "run", "-d", "--name", "database", "-v", "db:/db", nodeImage().tag, ...idle]);
    try {
      const refused = await restore("volume", "node1/db");
      expect(refused.code).to.equal(1);
      expect(refused.stderr)
        .to.contain("SKEP_RESTORE_VOLUME_IN_USE")
        .and.contain("database")
        .and.contain("--as NEWNAME");
      const beside = await restore("volume", "node1/db", "--as", "db-old");
      expect(beside.code, beside.stderr).to.equal(0);
      expect(readFileSync(file("db-old", "rows"), "utf8")).to.have.length(1_000_000);
    } finally {
      await node.run(["docker", "rm", "-f", "database"]);
      await node.run(["docker", "volume", "rm", "-f", "db-old"]);
    }
  });

  it("ends with 12 with another repository's identity or kit, and changes nothing", async () => {
    const identity = join("other", "identity-anna.txt");
    const wrong = await restore("volume", "node1/db", "--identity", identity);
    expect(wrong.code, wrong.stderr).to.equal(12);
    const store = `file://${folder}/kit-store`;
    const foreign = await cli("backup", "--store", store, "--kit", "other", ...host);
    expect(foreign.code, foreign.stderr).to.equal(12);
  });

  it("names an engine that does not answer, and a store that is gone", async () => {
    const engine = await cli("backup", "--kit", "kit", ...host, "--docker-socket", join(folder, "no.sock"));
    expect(engine.code).to.equal(1);
    expect(engine.stderr).to.contain("SKEP_DOCKER_UNREACHABLE").and.contain("--docker-socket");
    renameSync(join(folder, "kit-store"), join(folder, "away"));
    try {
      const gone = await cli("backup", "--kit", "kit", ...host);
      expect(gone.code, gone.stderr).to.equal(10);
    } finally {
      renameSync(join(folder, "away"), join(folder, "kit-store"));
    }
  });

  it("ends with 130 when it is interrupted, leaves no process, and records no run", async () => {
    const runs = async (): Promise<number> =>
      runsDocument.parse(JSON.parse((await cli("runs", "--from-store", "--kit", "kit", "--json")).stdout)).runs.length;
    const before = await runs();
    const policy = "version: 1\nlimits: { bytesPerSecondPerNode: 1000000 }\n";
    const cluster = readFileSync(join(folder, "kit", "skep.yaml"), "utf8");
    writeFileSync(
      join(folder, "kit", "skep.yaml"),
      cluster.replace(/^policy:[^]*/m, `policy:\n${policy.replaceAll(/^(?=.)/gm, "  ")}`),
    );
    // Two packs: the second one waits for 16 s.
    writeFileSync(file("www", "large"), randomBytes(20_000_000));
    try {
      const child = spawn(process.execPath, [cliPath, "backup", "--kit", "kit", ...host, "--volumes", "www"], {
        cwd: folder,
        stdio: ["ignore", "ignore", "pipe"],
      });
      let stderr = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text;
      });
      const closed = once(child, "close") as Promise<[number | null]>;
      while (!stderr.includes("volume node1/www: running")) {
        expect(child.exitCode, stderr).to.equal(null);
        await sleep(50);
      }
      await sleep(500);
      child.kill("SIGINT");
      const [code] = await Promise.race([closed, sleep(60_000, [`did not end:\n${stderr}`])]);
      expect(code, stderr).to.equal(130);
      expect(stderr).to.contain("SKEP_CLI_INTERRUPTED");
      expect(await runs()).to.equal(before);
    } finally {
      writeFileSync(join(folder, "kit", "skep.yaml"), cluster);
      rmSync(file("www", "large"));
    }
  });

  it("takes a dump where a label wants one, and gives it back by its command", async () => {
    const idle = ["node", "-e", "setInterval(() => undefined, 1000)"];
    const start = (name: string, ...labels: string[]): Promise<string> =>
      node.run([
        "docker",
        "run",
        "-d",
        "--name",
        name,
        ...labels.flatMap((label) => ["--label", label]),
        "-v",
        `${name}:/data`,
        nodeImage().tag,
        ...idle,
      ]);
    await start("dumped", "skep.dump=echo all that there is", "skep.load=cat > /data/loaded; echo note >&2");
    await start("paused", "skep.quiesce=pause");
    try {
      const { run } = await backup("--volumes", "dumped", "paused");
      expect(kinds(run)).to.deep.equal([
        "node node1 done",
        "dump node1/dumped done",
        "volume node1/paused done",
        "runbook runbook done",
      ]);
      expect(run.parts.find(({ kind }) => kind === "volume")?.consistency).to.equal("quiet");
      const beside = await restore("volume", "node1/dumped", "--as", "dumped-dump");
      expect(beside.code, beside.stderr).to.equal(0);
      expect(readFileSync(file("dumped-dump", "dump"), "utf8")).to.equal("all that there is\n");

      const asked = await restore("volume", "node1/dumped");
      expect(asked.stderr)
        .to.match(/into +container dumped on node1, while it runs\n/)
        .and.match(/by +\/bin\/sh -c cat > \/data\/loaded/);
      const loaded = await restore("volume", "node1/dumped", "--json");
      expect(loaded.code, loaded.stderr).to.equal(0);
      const { plan, result } = restoreDocument.parse(JSON.parse(loaded.stdout));
      expect(plan.load?.container).to.equal("dumped");
      expect(result).to.deep.include({ kind: "restore-load", loadedBytes: 18 });
      expect(loaded.stderr).to.contain("  note");
      expect(readFileSync(file("dumped", "loaded"), "utf8")).to.equal("all that there is\n");
      const elsewhere = await restore("volume", "node1/dumped", "--load-into", "paused");
      expect(elsewhere.code, elsewhere.stderr).to.equal(0);
      expect(readFileSync(file("paused", "loaded"), "utf8")).to.equal("all that there is\n");
      const unfit = await restore("volume", "node1/dumped", "--as", "beside", "--load-into", "paused");
      expect(unfit.stderr).to.contain("SKEP_LOAD_UNFIT");
      await node.run(["docker", "stop", "--time", "0", "dumped"]);
      expect((await restore("volume", "node1/dumped")).stderr).to.contain("SKEP_COMMAND_NO_CONTAINER");
    } finally {
      await node.run(["docker", "rm", "-f", "dumped", "paused"]);
      await node.run(["docker", "volume", "rm", "-f", "dumped", "paused", "dumped-dump"]);
    }
  });

  describeQuiet(() => ({ node, folder, host, cli, backup, file }));

  describe("on a host that becomes a swarm manager", () => {
    it("takes Raft state and definitions as well", async function () {
      this.timeout(120_000);
      const address = (await node.run(["hostname", "-I"])).split(" ")[0] ?? "";
      await node.run(["docker", "swarm", "init", "--advertise-addr", address]);
      const { result, run } = await backup();
      expect(result.code, result.stderr).to.equal(0);
      expect(kinds(run).slice(0, 2)).to.deep.equal(["raft raft done", "definitions definitions done"]);
      expect(run.clusterId).to.be.a("string");
      expect(run.parts[0]?.raft?.walked).to.equal(true);
      expect(run.nodes.map(({ role }) => role)).to.deep.equal(["manager"]);
    });

    describeHeld(() => ({ node, folder, host, cli, backup, file }));
  });
});
