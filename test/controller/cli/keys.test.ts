import { expect } from "chai";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keyChangeDocument, recipientsDocument, runsDocument } from "../../../controller/cli/documents.ts";
import { encryptWithPassphrase } from "../../../shared/repository/age.ts";
import { decodeControllerKey } from "../../../shared/repository/controller-key.ts";
import { decodeIdentityFile } from "../../../shared/repository/identity-file.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { readRepositoryObject } from "../../../shared/repository/repository-reader.ts";
import { appendRun } from "../../../shared/repository/run-chain.ts";
import { publicKeyOf } from "../../../shared/repository/signature.ts";
import { openStore } from "../../../shared/store/open.ts";
import { initKit } from "./init-kit.ts";
import { runCli, type CliResult } from "./run-cli.ts";
import { sampleRun } from "./sample-run.ts";

describe("skep recipient and skep key", () => {
  let folder: string;
  before(async function () {
    this.timeout(60_000);
    folder = mkdtempSync(join(tmpdir(), "skep-keys-"));
    await initKit(folder);
    const store = openStore({ url: `file://${folder}/store` }, null);
    await appendRun(store, controllerKey(), 1, sampleRun("20261120-030000-aaaaaa"));
    await store.close();
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });
  const cli = (...argv: string[]): Promise<CliResult> => runCli(argv, { cwd: folder });
  const withKit = (...argv: string[]): Promise<CliResult> => cli(...argv, "--kit", "kit");
  const controllerKey = (): ReturnType<typeof decodeControllerKey> =>
    decodeControllerKey(readFileSync(join(folder, "kit", "controller.key"), "utf8"), "key");

  it("adds an operator who opens, but changes no keys, and removes him again", async function () {
    this.timeout(120_000);
    const unasked = await withKit("recipient", "add", "bob");
    expect(unasked.code).to.equal(1);
    expect(unasked.stderr).to.contain("SKEP_CLI_UNCONFIRMED").and.contain("every backup of this repository");
    expect(existsSync(join(folder, "identity-bob.txt"))).to.be.false;

    const added = await withKit("recipient", "add", "bob", "--yes", "--json");
    expect(added.code, added.stderr).to.equal(0);
    expect(keyChangeDocument.parse(JSON.parse(added.stdout))).to.include({ changed: true, version: 2, epoch: 1 });
    const path = join(folder, "identity-bob.txt");
    expect(statSync(path).mode & 0o777).to.equal(0o600);
    expect(decodeIdentityFile(readFileSync(path, "utf8"), path)).to.include({ name: "bob", rootPrivateKey: null });
    const store = ["--store", `file://${folder}/store`];
    const byBob = await cli("runs", ...store, "--identity", path, "--json");
    expect(byBob.code, byBob.stderr).to.equal(0);
    const bobChanges = await cli("key", "rotate", "epoch", ...store, "--identity", path, "--yes");
    expect(bobChanges.stderr).to.contain("SKEP_ROOT_KEY_MISSING");

    const removed = await withKit("recipient", "remove", "bob", "--yes", "--json");
    expect(removed.code, removed.stderr).to.equal(0);
    expect(removed.stderr).to.contain("still opens").and.contain("take away his credentials");
    expect(keyChangeDocument.parse(JSON.parse(removed.stdout))).to.include({ version: 3, epoch: 2 });
    expect((await cli("runs", ...store, "--identity", path)).code).to.equal(12);
    const listed = recipientsDocument.parse(JSON.parse((await withKit("recipient", "list", "--json")).stdout));
    expect(listed.recipients.map(({ name, holdsRootKey }) => [name, holdsRootKey])).to.deep.equal([["anna", true]]);
  });

  it("changes no key where something may have been put over a newer repository object, until told that none was", async function () {
    this.timeout(120_000);
    const store = openStore({ url: `file://${folder}/store` }, null);
    const { version } = await readRepositoryObject(store, controllerKey().rootPublicKey);
    await store.put(layout.repository(version + 1), Buffer.from("put there by a thief"));
    await store.close();
    for (const command of [
      ["recipient", "add", "carol"],
      ["key", "rotate", "epoch"],
      ["key", "rotate", "controller"],
      ["key", "rotate", "root"],
    ]) {
      const refused = await withKit(...command, "--yes");
      expect(refused.code, refused.stderr).to.equal(1);
      expect(refused.stderr).to.contain(`${layout.repository(version + 1)} now does not count`);
      expect(refused.stderr).to.contain("SKEP_REPOSITORY_UNPROVEN").and.contain("--accept-foreign");
    }
    const left = ["identity-carol.txt", "kit/controller.key.next", "kit/identity-anna.txt.next"];
    expect(left.filter((name) => existsSync(join(folder, name)))).to.deep.equal([]);
    const told = await withKit("key", "rotate", "epoch", "--accept-foreign", "--yes", "--json");
    expect(told.code, told.stderr).to.equal(0);
    expect(keyChangeDocument.parse(JSON.parse(told.stdout))).to.include({ changed: true, version: version + 2 });
    // What lies below the one that counts stands in nobody's way.
    const after = await withKit("runs", "--from-store");
    expect([after.code, after.stderr]).to.deep.equal([0, ""]);
  });

  it("gives the controller a new key, which the kit has then; what ran before keeps counting", async function () {
    this.timeout(120_000);
    const before = controllerKey();
    // One that died before the kit followed left the key that it made.
    const next = await withKit("key", "rotate", "controller", "--yes", "--json");
    expect(next.code, next.stderr).to.equal(0);
    const document = keyChangeDocument.parse(JSON.parse(next.stdout));
    const after = controllerKey();
    expect(publicKeyOf(after.signingKey)).to.equal(document.controllerPublicKey);
    expect(after.signingKey).to.not.equal(before.signingKey);
    expect(after.repositoryKey).to.equal(before.repositoryKey);
    expect(existsSync(join(folder, "kit", "controller.key.next"))).to.be.false;

    // Killed after the repository named the key, and before the kit followed: the same command goes on.
    writeFileSync(join(folder, "kit", "controller.key.next"), JSON.stringify(after));
    writeFileSync(join(folder, "kit", "controller.key"), JSON.stringify(before));
    expect((await withKit("runs", "--from-store")).code).to.equal(12);
    const again = await withKit("key", "rotate", "controller", "--yes", "--json");
    expect(keyChangeDocument.parse(JSON.parse(again.stdout)).version).to.equal(document.version);
    expect(controllerKey()).to.deep.equal(after);
    const runs = await withKit("runs", "--from-store", "--json");
    expect(runsDocument.parse(JSON.parse(runs.stdout)).runs.map(({ id }) => id)).to.deep.equal([
      "20261120-030000-aaaaaa",
    ]);
  });

  it("gives the repository a new root key: into the identity file, the kit and its card; cut off, it goes on", async function () {
    this.timeout(120_000);
    const kit = (name: string): string => join(folder, "kit", name);
    const files = ["identity-anna.txt", "controller.key", "skep.yaml", "recovery-card.txt"];
    const before = new Map(files.map((name) => [name, readFileSync(kit(name), "utf8")]));
    const former = decodeIdentityFile(before.get("identity-anna.txt") ?? "", "identity");
    // Of one that was killed while it wrote the new file.
    writeFileSync(kit("identity-anna.txt.next.partial"), "# Skep identity: op");
    const done = await withKit("key", "rotate", "root", "--yes", "--json");
    expect(done.code, done.stderr).to.equal(0);
    expect(done.stderr).to.contain("not undone").and.contain("recovery card");
    const document = keyChangeDocument.parse(JSON.parse(done.stdout));
    const followed = (): void => {
      for (const name of files) {
        expect(readFileSync(kit(name), "utf8"), name)
          .to.contain(document.rootPublicKey)
          .and.not.contain(former.rootPublicKey);
      }
      for (const end of ["next", "next.partial"]) expect(existsSync(kit(`identity-anna.txt.${end}`))).to.be.false;
    };
    followed();
    const after = readFileSync(kit("identity-anna.txt"), "utf8");
    expect(decodeIdentityFile(after, "identity").recipient).to.equal(former.recipient);

    // Killed once the repository has the key, with the kit half written: the same command does the rest.
    for (const [name, text] of before) writeFileSync(kit(name), text);
    writeFileSync(kit("identity-anna.txt.next"), after);
    writeFileSync(kit(".skep.yaml.partial"), "half");
    const other = await withKit("key", "rotate", "root", "--new-identity", "--yes");
    expect(other.stderr).to.contain("keeps the age key");
    const again = await withKit("key", "rotate", "root", "--yes", "--json");
    expect(keyChangeDocument.parse(JSON.parse(again.stdout)), again.stderr).to.deep.equal(document);
    followed();

    writeFileSync(join(folder, "former.txt"), before.get("identity-anna.txt") ?? "");
    const store = ["--store", `file://${folder}/store`, "--identity", "former.txt"];
    const refused = await cli("key", "rotate", "epoch", ...store, "--yes");
    expect(refused.stderr).to.contain("SKEP_ROOT_KEY_REPLACED");
    const reads = await cli("runs", ...store, "--json");
    expect(runsDocument.parse(JSON.parse(reads.stdout)).runs).to.have.length(1);
  });

  it("opens an identity file that has a passphrase", async function () {
    this.timeout(120_000);
    const text = readFileSync(join(folder, "kit", "identity-anna.txt"));
    writeFileSync(join(folder, "locked.age"), await encryptWithPassphrase(text, "five random words are good", 12));
    writeFileSync(join(folder, "passphrase"), "five random words are good\n");
    writeFileSync(join(folder, "wrong"), "four random words\n");
    const runs = ["runs", "--store", `file://${folder}/store`, "--identity", "locked.age"];
    const opened = await cli(...runs, "--identity-passphrase-file", "passphrase");
    expect(opened.code, opened.stderr).to.equal(0);
    expect((await cli(...runs, "--identity-passphrase-file", "wrong")).stderr).to.contain("SKEP_PASSPHRASE_WRONG");
    expect((await cli(...runs)).stderr).to.contain("there is no terminal to ask");
  });
});
