import { expect } from "chai";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { initDocument } from "../../../controller/cli/documents.ts";
import { kitContextSchema } from "../../../controller/cli/kit.ts";
import { decodePolicy } from "../../../controller/policy.ts";
import { decodeClusterFile } from "../../../shared/contract/cluster-file.ts";
import { decodeControllerKey } from "../../../shared/repository/controller-key.ts";
import { decodeIdentityFile } from "../../../shared/repository/identity-file.ts";
import { openAsOperator } from "../../../shared/repository/open/operator.ts";
import { openStore } from "../../../shared/store/open.ts";
import { runCli } from "./run-cli.ts";

describe("skep init", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-init-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });
  const storeUrl = (): string => `file://${folder}/store`;
  const init = (...more: string[]): ReturnType<typeof runCli> =>
    runCli(["init", "--no-stored-kit", "--store", storeUrl(), "--operator", "anna", "--out", "kit", ...more], {
      cwd: folder,
    });
  const kitText = (name: string): string => readFileSync(join(folder, "kit", name), "utf8");

  it("makes a repository that the identity file of the kit opens", async () => {
    const { code, stderr } = await init();
    expect(code, stderr).to.equal(0);
    const identity = decodeIdentityFile(kitText("identity-anna.txt"), "identity-anna.txt");
    const store = openStore({ url: storeUrl() }, null);
    const operator = await openAsOperator(store, identity);
    expect(operator.repositoryObject.recipients.map(({ name }) => name)).to.deep.equal(["anna"]);
    const key = decodeControllerKey(kitText("controller.key"), "controller.key");
    expect(Buffer.from(operator.repositoryKey).toString("base64")).to.equal(key.repositoryKey);
    await store.close();
  });

  it("writes a kit whose files fit each other, for their owner alone", async () => {
    await init("--api", "https://manager1:8420", "--api", "https://manager2:8420/");
    const names = readdirSync(join(folder, "kit"));
    for (const name of names) expect(statSync(join(folder, "kit", name)).mode & 0o777, name).to.equal(0o600);
    expect(statSync(join(folder, "kit")).mode & 0o777).to.equal(0o700);
    const context = kitContextSchema.parse(JSON.parse(kitText("cli.json")));
    expect(context.api).to.deep.equal(["https://manager1:8420", "https://manager2:8420"]);
    expect(names).to.include.members(Object.values(context).filter((value) => value !== 1 && value !== context.api));
    const cluster = decodeClusterFile(kitText("skep.yaml"), "skep.yaml");
    expect(cluster.store).to.deep.equal({ url: storeUrl() });
    expect(cluster.rootPublicKey).to.equal(decodeControllerKey(kitText("controller.key"), "key").rootPublicKey);
    expect(decodePolicy(kitText("skep.yaml"), "skep.yaml", ["policy"]).schedules).to.have.length(1);
    expect(kitText("api.pem")).to.contain(kitText("api.crt").trim()).and.contain("PRIVATE KEY");
    const certificate = new X509Certificate(kitText("api.crt"));
    for (const host of ["manager1", "manager2"]) expect(certificate.checkHost(host)).to.equal(host);
    expect(kitText("api.token").trim()).to.match(/^[\w-]{43}$/);
    expect(kitText("redis.password").trim()).to.match(/^[\w-]{43}$/);
    expect(kitText("api.token")).to.not.equal(kitText("redis.password"));
  });

  it("prints the recovery card on stdout and the next steps on stderr, and no secret anywhere", async () => {
    const { stdout, stderr } = await init();
    expect(stdout).to.equal(`${kitText("recovery-card.txt")}\n`);
    const { repository } = decodeClusterFile(kitText("skep.yaml"), "skep.yaml");
    expect(stdout).to.contain(storeUrl()).and.contain(repository).and.contain("identity-anna.txt");
    expect(stderr).to.contain("docker stack deploy -c stack.yml skep");
    const identity = decodeIdentityFile(kitText("identity-anna.txt"), "identity");
    const key = decodeControllerKey(kitText("controller.key"), "key");
    const secrets = [identity.identity, identity.rootPrivateKey, key.repositoryKey, key.signingKey];
    for (const secret of [...secrets, kitText("api.token").trim(), kitText("redis.password").trim()]) {
      expect(stdout + stderr).to.not.contain(secret);
    }
  });

  it("prints one JSON document with --json", async () => {
    const { code, stdout } = await init("--json");
    expect(code).to.equal(0);
    const document = initDocument.parse(JSON.parse(stdout));
    expect(document.kit).to.equal(join(folder, "kit"));
    expect(document.files.toSorted()).to.deep.equal(readdirSync(join(folder, "kit")).toSorted());
  });

  it("overwrites neither a kit nor a repository, and leaves no half kit behind", async () => {
    await init();
    const before = kitText("identity-anna.txt");
    const again = await init();
    expect(again.code).to.equal(1);
    expect(again.stderr).to.contain("SKEP_KIT_EXISTS");
    expect(kitText("identity-anna.txt")).to.equal(before);
    const other = await runCli(["init", "--store", storeUrl(), "--out", "kit2", "--json"], { cwd: folder });
    expect(other.code).to.equal(1);
    expect(JSON.parse(other.stdout)).to.have.nested.property("error.code", "SKEP_REPOSITORY_EXISTS");
    expect(readdirSync(folder)).to.have.members(["kit", "store"]);
  });

  it("takes credentials from a file, never repeats them, and refuses malformed ones by field", async () => {
    const file = join(folder, "keys.json");
    writeFileSync(file, JSON.stringify({ accessKeyId: "AKIA", secretAccessKey: "hunter2 with spaces" }));
    const { code, stdout, stderr } = await runCli(
      ["init", "--store", "s3://backups", "--credentials", file, "--out", "kit"],
      { cwd: folder },
    );
    expect(code).to.equal(1);
    expect(stderr).to.contain("SKEP_STORE_CREDENTIALS").and.contain("secretAccessKey");
    expect(stdout + stderr).to.not.contain("hunter2");
  });

  it("says what is missing instead of asking, where nobody can be asked", async () => {
    const { code, stderr } = await runCli(["init", "--store", "s3://backups", "--out", "kit"], { cwd: folder });
    expect(code).to.equal(1);
    expect(stderr)
      .to.contain("error: the credentials of s3://backups are missing")
      .and.contain("hint: give --credentials");
    expect(readdirSync(folder)).to.deep.equal([]);
  });
});
