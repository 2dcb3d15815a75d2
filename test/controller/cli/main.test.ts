import { expect } from "chai";
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cliPath, runCli } from "./run-cli.ts";
import { actingCommands, wholeProgram } from "./whole-program.ts";

const launcher = join(dirname(cliPath), "skep.cjs");

describe("the skep command", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-main-"));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  it("has an example and --json in the help of every command", async () => {
    const commands = actingCommands(await wholeProgram());
    expect([...commands.keys()]).to.include.members(["init", "agents approve", "restore volume", "recover run"]);
    for (const [name, command] of commands) {
      let help = "";
      command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
      expect(help, name).to.match(/Example:\n {2}.*skep /);
      if (!["agent run", "controller"].includes(name)) expect(help, name).to.contain("--json");
    }
  });

  it("lists its commands, and shows the help of one", async () => {
    const all = await runCli(["--help"], { cwd: folder });
    expect(all).to.include({ code: 0, stderr: "" });
    for (const name of ["init", "backup", "recover"]) expect(all.stdout).to.match(new RegExp(`^ {2}${name} `, "m"));
    const one = await runCli(["agents", "approve", "--help"], { cwd: folder });
    expect(one.code).to.equal(0);
    expect(one.stdout).to.contain("Example:");
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

  it("keeps compiled code where nobody else may write, and nowhere else", () => {
    const call = (home: string): void => {
      const options = { cwd: folder, env: { PATH: process.env["PATH"], XDG_CACHE_HOME: home } };
      expect(spawnSync(process.execPath, [launcher, "version", "--json"], options).status).to.equal(0);
    };
    const [own, open] = [join(folder, "own"), join(folder, "open")];
    call(own);
    expect(readdirSync(join(own, "skep", "compiled"))).to.have.length.greaterThan(0);
    mkdirSync(join(open, "skep"), { recursive: true });
    chmodSync(join(open, "skep"), 0o777);
    call(open);
    expect(readdirSync(join(open, "skep"))).to.deep.equal([]);
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
