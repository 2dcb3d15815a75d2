import { expect } from "chai";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runsDocument } from "../../../controller/cli/documents.ts";
import { runAnswerSchema } from "../../../controller/api/schemas.ts";
import { decodeControllerKey } from "../../../shared/repository/controller-key.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { appendRun } from "../../../shared/repository/run-chain.ts";
import { openStore } from "../../../shared/store/open.ts";
import { runCli, type CliResult } from "./run-cli.ts";
import { sampleRun } from "./sample-run.ts";

const first = "20261120-030000-aaaaaa";
const second = "20261121-030000-bbbbbb";

describe("skep runs and skep show, from the store itself", () => {
  let folder: string;
  before(async function () {
    this.timeout(30_000);
    folder = mkdtempSync(join(tmpdir(), "skep-runs-"));
    for (const name of ["one", "two"]) {
      const argv = [
        "init",
        "--no-stored-kit",
        "--store",
        `file://${folder}/store-${name}`,
        "--operator",
        "anna",
        "--out",
        name,
      ];
      expect((await cli(...argv)).code).to.equal(0);
    }
    const store = openStore({ url: `file://${folder}/store-one` }, null);
    const key = decodeControllerKey(readFileSync(join(folder, "one", "controller.key"), "utf8"), "key");
    await appendRun(store, key, 1, sampleRun(first, { status: "done" }));
    await appendRun(store, key, 1, sampleRun(second));
    await store.close();
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });
  const cli = (...argv: string[]): Promise<CliResult> => runCli(argv, { cwd: folder });
  const identity = (name: string): string => join(name, "identity-anna.txt");

  it("lists the runs newest first, with the kit's controller key", async () => {
    const { code, stdout, stderr } = await cli("runs", "--from-store", "--kit", "one", "--json");
    expect(code, stderr).to.equal(0);
    const { runs, faults } = runsDocument.parse(JSON.parse(stdout));
    expect(runs.map(({ id, status }) => [id, status])).to.deep.equal([
      [second, "partial"],
      [first, "done"],
    ]);
    expect(faults).to.deep.equal([]);
    expect((await cli("runs", "--from-store", "--kit", "one", "--limit", "1")).stdout).to.not.contain(first);
  });

  it("needs nothing but the store and the identity", async () => {
    mkdirSync(join(folder, "elsewhere"));
    const store = `file://${folder}/store-one`;
    const { code, stdout, stderr } = await cli("runs", "--store", store, "--identity", identity("one"));
    expect(code, stderr).to.equal(0);
    expect(stdout).to.contain(first).and.contain(second);
    const fromStdin = await runCli(["show", "--store", store, "--identity", "-"], {
      cwd: join(folder, "elsewhere"),
      stdin: readFileSync(join(folder, identity("one")), "utf8"),
    });
    expect(fromStdin.code, fromStdin.stderr).to.equal(0);
    expect(fromStdin.stdout).to.contain(`Run ${second}`);
  });

  it("shows a run: latest, or by its id", async () => {
    const { stdout } = await cli("show", "--from-store", "--kit", "one");
    expect(stdout).to.contain(`Run ${second}  partial`).and.contain("error: volume db is gone");
    const json = await cli("show", first, "--from-store", "--kit", "one", "--json");
    const answer = runAnswerSchema.parse(JSON.parse(json.stdout));
    expect(answer).to.have.nested.property("run.id", first);
  });

  it("knows an unknown run and a malformed id", async () => {
    const unknown = await cli("show", "20200101-000000-aaaaaa", "--from-store", "--kit", "one");
    expect(unknown.code).to.equal(1);
    expect(unknown.stderr).to.contain("SKEP_RUN_UNKNOWN");
    const malformed = await cli("show", "../x", "--from-store", "--kit", "one");
    expect(malformed.stderr).to.contain("is no run id").and.contain("SKEP_CLI_USAGE");
    const none = await cli("show", "--from-store", "--kit", "two");
    expect(none.stderr).to.contain("there is no run").and.contain("SKEP_RUN_UNKNOWN");
  });

  it("ends with 12 where the identity or the kit belongs to another repository", async () => {
    const store = `file://${folder}/store-one`;
    const byIdentity = await cli("runs", "--store", store, "--identity", identity("two"));
    expect(byIdentity.code, byIdentity.stderr).to.equal(12);
    expect(byIdentity.stderr).to.contain("SKEP_IDENTITY_DOES_NOT_FIT").and.contain("hint: ");
    const byKit = await cli("runs", "--store", store, "--kit", "two", "--json");
    expect(byKit.code, byKit.stderr).to.equal(12);
    expect(JSON.parse(byKit.stdout)).to.have.nested.property("error.code", "SKEP_CONTROLLER_KEY_DOES_NOT_FIT");
  });

  it("ends with 10 where there is no store, or no repository in it", async () => {
    const gone = await cli("runs", "--store", `file://${folder}/nowhere`, "--identity", identity("one"));
    expect(gone.code, gone.stderr).to.equal(10);
    mkdirSync(join(folder, "empty"));
    const empty = await cli("runs", "--store", `file://${folder}/empty`, "--identity", identity("one"));
    expect(empty.code, empty.stderr).to.equal(10);
    expect(empty.stderr).to.contain("SKEP_REPOSITORY_MISSING");
  });

  it("says of a missing identity where to bring it from, and repeats no line of a broken one", async () => {
    const store = `file://${folder}/store-one`;
    const missing = await cli("runs", "--store", store, "--identity", "offline.txt");
    expect(missing.code).to.equal(1);
    expect(missing.stderr).to.contain("there is no such file").and.contain("--identity FILE");
    const text = readFileSync(join(folder, identity("one")), "utf8");
    writeFileSync(join(folder, "broken.txt"), text.replace("AGE-SECRET-KEY-", "AGE-SECRET-"));
    const broken = await cli("runs", "--store", store, "--identity", "broken.txt");
    expect(broken.stderr).to.contain("SKEP_IDENTITY_INVALID");
    for (const line of text.split("\n").filter((candidate) => candidate.length > 40)) {
      expect(broken.stdout + broken.stderr).to.not.contain(line.slice(-30));
    }
  });

  it("ends with 3 and names the object where one under runs/ is damaged", async () => {
    const path = join(folder, "store-one", layout.run(1));
    renameSync(path, `${path}.kept`);
    writeFileSync(path, "not a run");
    try {
      const { code, stdout, stderr } = await cli("runs", "--from-store", "--kit", "one", "--json");
      expect(code, stderr).to.equal(3);
      const { runs, faults } = runsDocument.parse(JSON.parse(stdout));
      expect(runs.map(({ id }) => id)).to.deep.equal([second]);
      expect(faults.map(({ key, code: fault }) => [key, fault])).to.deep.include([
        layout.run(1),
        "SKEP_SEALED_INVALID",
      ]);
      expect(faults.map(({ code: fault }) => fault)).to.include("SKEP_RUN_CHAIN_BROKEN");
    } finally {
      renameSync(`${path}.kept`, path);
    }
  });
});
