import { expect } from "chai";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cliPath, runCli } from "./run-cli.ts";

const launcher = join(dirname(cliPath), "skep.cjs");

describe("the skep command", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-main-"));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  it("has an example and --json in the help of every command", async function () {
    this.timeout(60_000);
    const { stdout } = await runCli(["--help"], { cwd: folder });
    const names = [...stdout.matchAll(/^ {2}([a-z]+)(?: .*)? {2}/gm)].map(([, name]) => name ?? "");
    expect(names).to.include.members(["init", "doctor", "agents", "backup", "runs", "show", "policy", "version"]);
    const groups: Record<string, string[]> = {
      agent: ["agent run"],
      policy: ["policy show", "policy set", "policy check"],
      raft: ["raft verify", "raft ls", "raft get", "raft diff", "raft export"],
      restore: ["restore volume", "restore list", "restore undo", "restore discard"],
    };
    const leaves = names.filter((name) => name !== "help").flatMap((name) => groups[name] ?? [name]);
    for (const leaf of [...leaves, "agents approve"]) {
      const { code, stdout: help } = await runCli([...leaf.split(" "), "--help"], { cwd: folder });
      expect(code, leaf).to.equal(0);
      expect(help, leaf).to.match(/Example:\n {2}.*skep /);
      if (!["agent run", "controller"].includes(leaf)) expect(help, leaf).to.contain("--json");
    }
  });

  it("says what is wrong with a call, on stderr, and ends with 1", async () => {
    for (const argv of [
      ["bogus"],
      ["init", "--stroe"],
      ["agents", "approve"],
      ["toString"],
      ["runs", "--limit", "0"],
    ]) {
      const { code, stdout, stderr } = await runCli(argv, { cwd: folder });
      expect(code, argv.join(" ")).to.equal(1);
      expect(stdout).to.equal("");
      expect(stderr).to.match(/^error: .*\n(\(Did you mean.*\n)?hint: .*\ncode: SKEP_CLI_USAGE\n$/);
    }
  });

  it("writes no colour where there is no terminal, and none with NO_COLOR", async () => {
    for (const env of [{}, { NO_COLOR: "1" }]) {
      const { stdout, stderr } = await runCli(["show", "x"], { cwd: folder, env });
      expect(stdout + stderr).to.not.contain("\u001b");
    }
  });

  it("tells by the age of a file whether a daemon is alive", async () => {
    const file = join(folder, "alive");
    writeFileSync(file, "");
    expect((await runCli(["healthy", file], { cwd: folder })).code).to.equal(0);
    utimesSync(file, new Date(), new Date(Date.now() - 120_000));
    const late = await runCli(["healthy", file], { cwd: folder });
    expect(late.code).to.equal(1);
    expect(late.stderr).to.contain("last touched 2m ago").and.contain("SKEP_CLI_NOT_ALIVE");
    expect((await runCli(["healthy", join(folder, "none")], { cwd: folder })).code).to.equal(1);
  });

  it("starts under a fitting Node.js by its launcher, and says so clearly where there is none", () => {
    const call = (script: string, ...options: string[]): ReturnType<typeof spawnSync> =>
      spawnSync(process.execPath, [...options, script, "--version"], { encoding: "utf8", cwd: folder });
    const version = call(launcher).stdout;
    expect(version).to.match(/^\d+\.\d+\.\d+\n$/);
    const old = join(folder, "old.cjs");
    writeFileSync(old, 'Object.defineProperty(process.versions, "node", { value: "18.19.0" });');
    const handedOver = call(launcher, "--require", old);
    expect(handedOver.stdout, String(handedOver.stderr)).to.equal(version);
    copyFileSync(launcher, join(folder, "skep.cjs"));
    const alone = call(join(folder, "skep.cjs"), "--require", old);
    expect(alone.status).to.equal(1);
    expect(alone.stderr)
      .to.contain("error: skep needs Node.js 24 or newer, this is 18.19.0")
      .and.contain("SKEP_CLI_NODE_TOO_OLD");
  });
});
