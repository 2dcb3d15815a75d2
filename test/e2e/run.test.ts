import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import type { RestoreDocument, RestoreObjectsDocument } from "../../controller/cli/restore-documents.ts";
import { layout } from "../../shared/repository/layout.ts";
import type { Part, Run } from "../../shared/repository/run.ts";
import type { Store } from "../../shared/store/store.ts";
import { tryCommand } from "../lab/command.ts";
import type { Cluster } from "./cluster.ts";
import { sharedCluster } from "./shared-cluster.ts";
import { describeTree, makeVolume, volumePath } from "./volumes.ts";

/** age and zstd as docs/FORMAT.md tells to call them; throws with what they said. */
async function tool(argv: readonly string[], input?: Uint8Array): Promise<void> {
  const { code, stderr } = await tryCommand(argv, input === undefined ? {} : { input });
  if (code !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`);
}

describe("a run over three nodes", function () {
  this.timeout(240_000);
  let cluster: Cluster;
  let store: Store;
  let run: Run;
  const marker = randomBytes(24).toString("hex");

  before(async () => {
    cluster = await sharedCluster();
    store = await cluster.openStore();
    await makeVolume(cluster.lab.node(0), "alpha", {
      "notes.txt": `${marker}\n`,
      "deep/er/file": randomBytes(100_000),
    });
    await makeVolume(cluster.lab.node(1), "beta", { big: randomBytes(6_000_000), empty: "" });
    await makeVolume(cluster.lab.node(2), "gamma", { "a b/c\nd": "a name with a line end" });
    await makeVolume(cluster.lab.node(2), "scratch1", { x: "not selected" });
    const service = ["docker", "service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", "binder"];
    const place = ["--constraint", "node.hostname==node1", "--mount", "type=bind,source=/srv,target=/srv"];
    await cluster.manager.run([...service, ...place, "skep-lab/redis:7", "sleep", "1000"]);
    const document = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    run = document.run ?? expect.fail("backup --wait gave no run");
  });

  after(async () => {
    await store.close();
    await cluster.manager.exec(["docker", "service", "rm", "binder"]);
  });

  const part = (kind: Part["kind"], name: string): Part => {
    const found = run.parts.find((candidate) => candidate.kind === kind && candidate.name === name);
    return found ?? expect.fail(`the run has no ${kind} ${name}, only ${run.parts.map((p) => p.name).join(", ")}`);
  };

  it("covers all that was selected: Raft, definitions, three nodes, their volumes", () => {
    expect(run.status).to.equal("done");
    expect(
      run.parts.map((each) => `${each.name} ${each.status}`).filter((line) => !line.endsWith(" done")),
    ).to.deep.equal([]);
    expect(run.parts.filter((each) => each.kind === "node")).to.have.length(3);
    for (const volume of ["node1/alpha", "node2/beta", "node3/gamma"])
      expect(part("volume", volume).status).to.equal("done");
    const raft = run.parts.find((each) => each.kind === "raft")?.raft ?? expect.fail("no Raft proof");
    expect(raft.walked).to.be.true;
    expect(raft.engineVersion).to.match(/^\d+\.\d+/);
    expect(raft.commitIndex).to.be.at.least(raft.markerIndex ?? expect.fail("no marker"));
    expect(run.nodes.map((node) => node.hostname).sort()).to.deep.equal(["node1", "node2", "node3"]);
  });

  it("lists what it left out, and why", () => {
    const leftOut = run.notCovered.map((each) => `${each.reason} ${each.kind} ${each.name}`).join("\n");
    expect(leftOut).to.match(/^not-selected volume node3\/scratch1$/m);
    expect(leftOut).to.match(/^bind-mount bind .*\/srv$/m);
  });

  it("leaves packs, a manifest and an archive that Debian's age and zstd open", async () => {
    const folder = await mkdtemp(join(tmpdir(), "skep-age-"));
    try {
      const file = (name: string): string => join(folder, name);
      const fetch = async (key: string, name: string): Promise<void> => {
        await writeFile(file(name), (await store.get(key, 64 << 20)) ?? expect.fail(`${key} is not in the store`));
      };
      await fetch(layout.epochKey(1, 1), "epoch.age");
      await tool([
        "age",
        "--decrypt",
        "--identity",
        cluster.identity,
        "--output",
        file("epoch.txt"),
        file("epoch.age"),
      ]);
      const texts: string[] = [];
      for await (const { key } of store.list("packs/")) {
        await fetch(key, "pack.age");
        await tool([
          "age",
          "--decrypt",
          "--identity",
          file("epoch.txt"),
          "--output",
          file("pack.zst"),
          file("pack.age"),
        ]);
        await tool(["zstd", "--decompress", "--force", "--quiet", "-o", file("pack"), file("pack.zst")]);
        texts.push((await readFile(file("pack"))).toString("latin1"));
      }
      expect(texts.join("")).to.contain(marker);
      const { archive } = run.parts.find((each) => each.kind === "raft") ?? expect.fail("no raft part");
      await fetch(archive?.[0]?.key ?? expect.fail("no archive"), "raft.age");
      await tool(["age", "--decrypt", "--identity", file("epoch.txt"), "--output", file("raft.zst"), file("raft.age")]);
      await writeFile(file("raft.tar"), zstdDecompressSync(await readFile(file("raft.zst"))));
      const listing = await tryCommand(["tar", "--list", "--file", file("raft.tar")]);
      expect(listing.stdout)
        .to.contain("certificates/swarm-node.key")
        .and.match(/raft\/wal-v3-encrypted\/.*\.wal/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("leaves nothing in the store that tells a name or a content", async () => {
    for await (const { key } of store.list("")) {
      expect(key).to.not.match(/alpha|beta|gamma|node\d/);
      const bytes = Buffer.from((await store.get(key, 64 << 20)) ?? []);
      expect(bytes.includes(marker), key).to.be.false;
      expect(bytes.includes("notes.txt"), key).to.be.false;
    }
  });

  it("gives a deleted volume back as it was, times, owners and modes too", async () => {
    const node = cluster.lab.node(1);
    const before = await describeTree(node, "beta");
    await node.run(["docker", "volume", "rm", "beta"]);
    await cluster.skep(["restore", "volume", "node2/beta", "--yes", "--identity", cluster.identity]);
    expect(await describeTree(node, "beta")).to.equal(before);
  });

  it("stops the service that uses a volume for its restore, and once more for undoing that", async () => {
    const node = cluster.lab.node(1);
    const taken = await describeTree(node, "beta");
    const place = ["--constraint", "node.hostname==node2", "--mount", "type=volume,source=beta,target=/data"];
    const service = ["docker", "service", "create", "--quiet", "--no-resolve-image", "--name", "reader"];
    await cluster.manager.run([...service, ...place, "skep-lab/redis:7", "sleep", "1000"]);
    try {
      await writeFile(join(volumePath(node, "beta"), "since"), "written after the run");
      const present = await describeTree(node, "beta");
      const argv = ["restore", "volume", "node2/beta", "--run", run.id, "--yes", "--identity", cluster.identity];
      const { restoreId } = await cluster.skepJson<RestoreDocument>([...argv, "--stop"]);
      expect(await describeTree(node, "beta")).to.equal(taken);
      await cluster.skep(["restore", "undo", restoreId, "--yes"]);
      expect(await describeTree(node, "beta")).to.equal(present);
      const replicas = "{{.Spec.Mode.Replicated.Replicas}}";
      const left = await cluster.manager.run(["docker", "service", "inspect", "--format", replicas, "reader"]);
      expect(left.trim()).to.equal("1");
    } finally {
      await cluster.manager.run(["docker", "service", "rm", "reader"]);
      await rm(join(volumePath(node, "beta"), "since"), { force: true });
    }
  });

  it("puts files back into a volume as it is, and takes them out again", async () => {
    const node = cluster.lab.node(0);
    const folder = volumePath(node, "alpha");
    // The volume's own folder has another time once something was put into it.
    const entries = async (): Promise<string> => (await describeTree(node, "alpha")).replace(/^ d .*$/m, "");
    const before = await entries();
    await rm(join(folder, "deep"), { recursive: true });
    await writeFile(join(folder, "notes.txt"), "changed");
    const present = await entries();
    const from = ["notes.txt", "deep/er"].map((path) => `${run.id}:node1/alpha:${path}`);
    const argv = ["restore", "files", ...from, "--into", "node1/alpha", "--yes", "--identity", cluster.identity];
    const refused = await cluster.skep(argv, { tolerant: true });
    expect(refused.code).to.equal(1);
    expect(refused.stderr).to.contain("SKEP_RESTORE_FILE_EXISTS").and.contain('"notes.txt"');
    expect(await entries()).to.equal(present);
    const { restoreId, plan, result } = await cluster.skepJson<RestoreDocument>([...argv, "--existing", "update"]);
    expect(await entries()).to.equal(before);
    expect(plan.chosen?.map(({ path, there }) => [path, there])).to.deep.equal([
      ["notes.txt", "file"],
      ["deep/er", "nothing"],
    ]);
    expect(result).to.deep.include({ keptOld: true, merged: { made: 1, replaced: 1, equal: 0, left: 0 } });
    await cluster.skep(["restore", "undo", restoreId, "--yes"]);
    expect(await entries()).to.equal(present);
  });

  it("writes almost nothing when nothing changed", async () => {
    const { run: second } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    const beta = second?.parts.find((each) => each.name === "node2/beta");
    expect(beta?.totals?.sourceBytes).to.equal(6_000_000);
    expect(beta?.totals?.newBytes).to.be.below(100_000);
  });

  it("brings a service back that was removed from the swarm", async () => {
    const socket = `unix://${cluster.manager.dockerSocketPath}`;
    await cluster.manager.run(["docker", "service", "rm", "binder"]);
    const argv = ["restore", "service", "binder", "--docker", socket, "--identity", cluster.identity, "--yes"];
    const document = await cluster.skepJson<RestoreObjectsDocument>(argv);
    expect(document.result).to.deep.equal([{ kind: "service", name: "binder", result: "equal" }]);
    const mounts = "{{(index .Spec.TaskTemplate.ContainerSpec.Mounts 0).Target}}";
    const shown = await cluster.manager.run(["docker", "service", "inspect", "--format", mounts, "binder"]);
    expect(shown.trim()).to.equal("/srv");
  });
});
