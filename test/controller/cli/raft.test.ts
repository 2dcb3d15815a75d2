import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { zstdCompressSync } from "node:zlib";

import { expect } from "chai";
import { pack } from "tar-stream";

import { sealRecord } from "../../../shared/raft/sealed-record.ts";
import { encodeUnlockKey } from "../../../shared/raft/unlock-key.ts";
import { raftVectors } from "../../shared/raft/raft-vectors.ts";
import { dek, member, plainWal, request, syntheticSwarm } from "../../shared/raft/synthetic-swarm.ts";
import { runCli, type CliResult } from "./run-cli.ts";
import { backupFiles, makeTar } from "./swarm-file-fuzz.ts";

const data = Buffer.from("hunter2").toString("base64");

describe("skep raft", function () {
  this.timeout(60_000);
  let folder = "";
  let swarm: Map<string, Uint8Array>;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-raft-cli-"));
    const secret = { id: "secret1", spec: { annotations: { name: "db-password" }, data: Buffer.from("hunter2") } };
    const sealed = sealRecord(request(7, [{ case: "secret", value: secret }]), dek);
    swarm = await syntheticSwarm(plainWal(6).entry(7, sealed).state(7).finish(4096));
    writeSwarm("now", swarm);
    writeSwarm("before", await syntheticSwarm(plainWal(6).finish()));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  function writeSwarm(name: string, files: ReadonlyMap<string, Uint8Array>): void {
    for (const [path, bytes] of files) {
      mkdirSync(dirname(join(folder, name, path)), { recursive: true });
      writeFileSync(join(folder, name, path), bytes);
    }
  }

  async function cli(...argv: string[]): Promise<CliResult> {
    return await runCli(["raft", ...argv], { cwd: folder });
  }

  async function json(...argv: string[]): Promise<unknown> {
    const { code, stdout, stderr } = await cli(...argv, "--json");
    expect(code, stderr).to.equal(0);
    return JSON.parse(stdout);
  }

  it("verifies a directory", async () => {
    const answer = (await json("verify", "now")) as { counts: Record<string, number> };
    expect(answer).to.include({ ok: true, commit: 7, last: 7, term: 2 });
    expect(answer.counts).to.include({ secret: 1, config: 4, node: 1 });
  });

  it("fails for a damaged one, naming file and byte, and says nothing of ok", async () => {
    const damaged = new Map(swarm);
    const [path = ""] = [...swarm.keys()].filter((name) => name.endsWith(".wal"));
    const bytes = Buffer.from(swarm.get(path) ?? []);
    bytes.write("damage", 500);
    writeSwarm("damaged", damaged.set(path, bytes));
    const { code, stdout, stderr } = await cli("verify", "damaged", "--json");
    expect(code).to.equal(1);
    expect(stdout).not.to.contain('"ok"');
    expect(stderr).to.match(/\.wal at byte \d+/);
  });

  it("lists by kind, and shows a secret's data only with --reveal", async () => {
    expect(await json("ls", "now", "--kind", "secret")).to.deep.equal([
      { kind: "secret", id: "secret1", name: "db-password", version: 0 },
    ]);
    expect(JSON.stringify(await json("get", "now", "secret", "db-password"))).not.to.contain(data);
    expect(await json("get", "now", "secret", "db-password", "--reveal")).to.have.nested.property("Spec.Data", data);
    const { code, stderr } = await cli("get", "now", "secret", "other");
    expect(code).to.equal(1);
    expect(stderr).to.contain("SKEP_RAFT_NO_OBJECT");
  });

  it("reads a tar of the directory, compressed or not", async () => {
    const tar = pack();
    for (const [path, bytes] of swarm) tar.entry({ name: `swarm/${path}` }, Buffer.from(bytes));
    tar.finalize();
    const bytes = Buffer.from(await text(tar.setEncoding("latin1")), "latin1");
    writeFileSync(join(folder, "copy.tar"), bytes);
    writeFileSync(join(folder, "copy.tar.zst"), zstdCompressSync(bytes));
    for (const name of ["copy.tar", "copy.tar.zst"]) expect(await json("verify", name)).to.include({ commit: 7 });
    writeFileSync(join(folder, "garbage.tar"), Buffer.alloc(3000, 7));
    expect((await cli("verify", "garbage.tar")).stderr).to.match(/SKEP_RAFT_(SOURCE|FORMAT)/);
  });

  it("tells the difference of two points in time", async () => {
    const { changes } = (await json("diff", "before", "now")) as { changes: unknown[] };
    expect(changes).to.deep.equal([
      { kind: "secret", id: "secret1", name: "db-password", change: "added", fields: [] },
    ]);
  });

  it("tells it of two copies with two unlock keys: the one given, and the one that an archive has", async () => {
    const [older, newer] = ["docker-26.1/locked", "docker-28.5/locked"].map(
      (name) => raftVectors().find((vector) => vector.name === name) ?? expect.fail(name),
    );
    if (older === undefined || newer === undefined) return expect.fail();
    writeFileSync(join(folder, "older.tar"), await makeTar(backupFiles(older)));
    writeSwarm("newer", newer.files);
    writeFileSync(join(folder, "newer.key"), encodeUnlockKey(newer.unlockKey ?? Buffer.alloc(32)));
    const { changes } = (await json("diff", "newer", "older.tar", "--unlock-key-file", "newer.key")) as {
      changes: unknown[];
    };
    expect(changes.length).to.be.greaterThan(5);
    const stdin = encodeUnlockKey(newer.unlockKey ?? Buffer.alloc(32));
    const same = await runCli(["raft", "diff", "newer", "newer", "--unlock-key-file", "-", "--json"], {
      cwd: folder,
      stdin,
    });
    expect(JSON.parse(same.stdout), same.stderr).to.deep.equal({ changes: [] });
  });

  it("exports every object as a file, named by its name", async () => {
    expect((await cli("export", "now", "--out", "state")).code).to.equal(0);
    const folders = ["cluster", "config", "node", "secret"];
    expect(readdirSync(join(folder, "state")).sort()).to.deep.equal([...folders, "skep-export.json"]);
    expect(readdirSync(join(folder, "state", "secret"))).to.deep.equal(["db-password.json"]);
    const node = JSON.parse(readFileSync(join(folder, "state", "node", "node1.json"), "utf8")) as { ID: string };
    expect(node.ID).to.equal(member.nodeId);
    expect((await cli("export", "now", "--out", "state")).stderr).to.contain("SKEP_CLI_FILE_UNWRITABLE");
    expect((await cli("export", "before", "--out", "state", "--update")).code).to.equal(0);
    expect(existsSync(join(folder, "state", "secret", "db-password.json"))).to.equal(false);
  });

  it("says what a source may be", async () => {
    const { code, stderr } = await cli("verify", "nothing-here");
    expect(code).to.equal(1);
    expect(stderr).to.contain("is no folder, no file and no run");
  });
});
