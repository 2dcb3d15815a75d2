import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  checkDocument,
  compactDocument,
  forgetDocument,
  pruneDocument,
  runDiffDocument,
} from "../../../controller/cli/documents.ts";
import { decodeControllerKey } from "../../../shared/repository/controller-key.ts";
import { readRepositoryObject } from "../../../shared/repository/repository-reader.ts";
import type { Run } from "../../../shared/repository/run.ts";
import { forgetRuns } from "../../../shared/repository/upkeep/forget.ts";
import { openStore } from "../../../shared/store/open.ts";
import {
  appenderOf,
  backUpRun,
  keysUnder,
  makeNode,
  type Home,
} from "../../shared/repository/upkeep/repository-of-runs.ts";
import { initKit } from "./init-kit.ts";
import { runCli, type CliResult } from "./run-cli.ts";

describe("skep check, forget, prune, diff and compact", function () {
  this.timeout(120_000); // a dozen processes
  let folder: string;
  let home: Home;
  const ids: string[] = [];

  before(async function () {
    this.timeout(60_000);
    folder = mkdtempSync(join(tmpdir(), "skep-upkeep-"));
    await initKit(folder);
    const store = openStore({ url: `file://${folder}/store` }, null);
    const controllerKey = decodeControllerKey(readFileSync(join(folder, "kit", "controller.key"), "utf8"), "key");
    const repositoryObject = await readRepositoryObject(store, controllerKey.rootPublicKey);
    home = { store, made: { controllerKey, repositoryObject } };
    const node = makeNode({ path: folder }, "node1");
    for (let number = 0; number < 3; number++) {
      writeFileSync(join(node.source, "a"), randomBytes(100_000));
      ids.unshift((await backUpRun(home, node)).id);
    }
  });
  after(async () => {
    await home.store.close();
    rmSync(folder, { recursive: true });
  });
  const cli = (...argv: string[]): Promise<CliResult> => runCli(argv, { cwd: folder });
  const identity = join("kit", "identity-anna.txt");

  it("check finds nothing where all is well, with the kit alone and with the identity", async () => {
    const plain = await cli("check", "--kit", "kit");
    expect(plain.code, plain.stderr).to.equal(0);
    expect(plain.stderr).to.contain("all is well").and.contain("--read-data");
    const opened = await cli("check", "--kit", "kit", "--identity", identity, "--read-data", "--json");
    expect(opened.code, opened.stderr).to.equal(0);
    const document = checkDocument.parse(JSON.parse(opened.stdout));
    expect(document).to.include({ clean: true, runs: 3, snapshots: 3 });
    expect(document.readPacks).to.equal(document.packs);
  });

  it("check ends with 1 and names the snapshots that a damaged pack hurts", async () => {
    const [key = ""] = await keysUnder(home.store, "packs/");
    const path = join(folder, "store", key);
    const right = readFileSync(path);
    writeFileSync(path, right.subarray(1));
    try {
      const { code, stdout } = await cli("check", "--kit", "kit");
      expect(code).to.equal(1);
      expect(stdout)
        .to.contain("SKEP_OBJECT_DAMAGED")
        .and.match(/hurts \d{8}-\d{6}-\w{6}:node1\/data/);
    } finally {
      writeFileSync(path, right);
    }
  });

  it("forget shows the plan, asks, and never takes the last good run", async () => {
    const planned = await cli("forget", "--keep", "last=2", "--dry-run", "--kit", "kit", "--json");
    expect(planned.code, planned.stderr).to.equal(0);
    expect(forgetDocument.parse(JSON.parse(planned.stdout))).to.include({ dryRun: true });
    expect(forgetDocument.parse(JSON.parse(planned.stdout)).forgotten).to.deep.equal([ids[2]]);
    const unasked = await cli("forget", "--keep", "last=2", "--kit", "kit");
    expect(unasked.stderr).to.contain("SKEP_CLI_UNCONFIRMED");
    expect(unasked.stdout).to.match(new RegExp(`${ids[2] ?? ""} .*forget`));
    expect((await cli("forget", ids[0] ?? "", "--kit", "kit", "--yes")).stderr).to.contain("SKEP_FORGET_REFUSED");
    const done = await cli("forget", ids[2] ?? "", "--kit", "kit", "--yes");
    expect(done.code, done.stderr).to.equal(0);
  });

  it("prune tells in a dry run what it would give back, and then gives it", async () => {
    const prune = async (...argv: string[]): Promise<ReturnType<typeof pruneDocument.parse>> => {
      const { code, stdout, stderr } = await cli("prune", "--kit", "kit", "--json", ...argv);
      expect(code, stderr).to.equal(0);
      return pruneDocument.parse(JSON.parse(stdout));
    };
    const planned = await prune("--dry-run", "--grace", "0");
    expect(planned.freedBytes).to.be.greaterThan(100_000);
    expect(await prune("--grace", "0", "--yes")).to.include({ dryRun: false, freedBytes: planned.freedBytes });
    expect((await cli("check", "--kit", "kit", "--read-data")).code).to.equal(0);
  });

  describe("where a pack is mostly dead", () => {
    const runs: Run[] = [];
    before(async () => {
      const node = makeNode({ path: folder }, "node2");
      writeFileSync(join(node.source, "goes"), randomBytes(2_500_000));
      writeFileSync(join(node.source, "stays"), randomBytes(600_000));
      runs.push(await backUpRun(home, node));
      rmSync(join(node.source, "goes"));
      writeFileSync(join(node.source, "comes"), "small");
      for (let number = 0; number < 2; number++) runs.push(await backUpRun(home, node));
    });

    it("diff tells what changed from run to run", async () => {
      const [was, is, same] = runs.map(({ id }) => id) as [string, string, string];
      const { code, stdout, stderr } = await cli("diff", was, is, "--kit", "kit", "--identity", identity, "--json");
      expect(code, stderr).to.equal(0);
      // The folder itself has changed as well.
      const counts = { added: 1, removed: 1, changed: 1 };
      const volumes = [{ nodeId: "node2", name: "node2/data", change: "changed", counts }];
      expect(runDiffDocument.parse(JSON.parse(stdout))).to.deep.equal({ before: was, after: is, volumes });
      const none = await cli("diff", is, same, "--kit", "kit", "--identity", identity);
      expect(none.stdout).to.equal("= node2/data\n");
    });

    it("compact writes anew what is needed of it, once it is agreed to", async () => {
      await forgetRuns({ ...appenderOf(home), choose: (all) => all.filter(({ id }) => id === runs[0]?.id) });
      const argv = ["compact", "--grace", "0", "--below", "50", "--kit", "kit", "--identity", identity];
      const unasked = await cli(...argv);
      expect(unasked.stderr)
        .to.contain("SKEP_CLI_UNCONFIRMED")
        .and.match(/mostly dead +1 pack/);
      const { code, stdout, stderr } = await cli(...argv, "--yes", "--json");
      expect(code, stderr).to.equal(0);
      const done = compactDocument.parse(JSON.parse(stdout));
      expect(done).to.include({ dryRun: false, changed: true, packs: 1, snapshots: 2 });
      expect(done.packBytes).to.be.greaterThan(3_000_000);
      expect(done.storedBytes).to.be.greaterThan(600_000).and.lessThan(700_000);
      const checked = await cli("check", "--kit", "kit", "--identity", identity, "--read-data");
      expect(checked.code, checked.stdout).to.equal(0);
    });
  });
});
