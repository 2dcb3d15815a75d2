// Disks that are full: under the store, under the volume that is restored, under the agent's own state.
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Run } from "../../../shared/repository/run.ts";
import { errorOf, failureOf, partOf, readRun, type Host } from "./host.ts";

const kit = "disks";
/** Mount points in the node. */
const storeFolder = "/srv/store";
const stateFolder = "/srv/state";

export function fullDisks(getHost: () => Host): void {
  let host: Host;
  let first: Run;
  let tree: string;
  before(async () => {
    host = getHost();
    await host.mountMemory(storeFolder, "size=12m");
    await host.init(kit, ["--store", `file://${host.root}${storeFolder}`]);
    await host.newVolume("ledger", { "2026/january": randomBytes(200_000), "2026/february": "none" });
    await host.newVolume("many", Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`f${at}`, `file ${at}`])));
    tree = host.tree("ledger");
    const { code, run, stderr } = await host.backup(kit, "ledger", "many");
    expect(code, stderr).to.equal(0);
    first = run;
  });

  /** Fills the file system of that folder to its last byte. */
  const fill = async (folder: string): Promise<void> => {
    await host.node.exec(["dd", "if=/dev/zero", `of=${folder}/filler`, "bs=1k"]);
  };
  const nothingLost = async (): Promise<void> => {
    await host.backupWhole(kit, "ledger");
    expect(await host.restored(kit, "ledger", first)).to.equal(tree);
  };

  describe("of the store", () => {
    it("fails the volume that does not fit, records that, and takes it once there is room", async () => {
      await host.newVolume("scans", { a: randomBytes(16_000_000) });
      const { code, run, stderr } = await host.backup(kit, "scans");
      expect(code, stderr).to.equal(1);
      expect(run.status).to.equal("failed");
      const error = errorOf(partOf(run, "scans"));
      expect(error).to.include({ code: "SKEP_STORE_FULL", permanent: true });
      expect(error.message).to.match(/^cannot put packs\/\S+ at file:\/\/\S+: no room left/);
      expect(readdirSync(join(host.root, storeFolder, "+partial"))).to.deep.equal([]);
      await host.node.run(["mount", "-o", "remount,size=64m", storeFolder]);
      await host.backupWhole(kit, "scans");
    });

    it("says so where not even the run can be recorded", async () => {
      await fill(storeFolder);
      const result = await host.skep(...host.backupArgv(kit, "ledger"));
      expect(result.code).to.equal(1);
      const error = failureOf(result);
      expect(error).to.include({ code: "SKEP_STORE_FULL", permanent: true });
      expect(error.message).to.contain("create runs/").and.contain("file://");
      await host.node.run(["rm", `${storeFolder}/filler`]);
      await nothingLost();
    });
  });

  describe("of the volume that is restored", () => {
    const folder = "/var/lib/docker/volumes/many";
    let present: string;
    before(async () => {
      await host.mountMemory(folder, "size=40m");
      await host.node.run(["mkdir", `${folder}/_data`]);
      await host.node.run(["sh", "-c", `echo present > ${folder}/_data/present`]);
      present = host.tree("many");
    });
    after(() => host.node.run(["umount", folder]));

    const isUntouched = (): void => {
      expect(host.tree("many")).to.equal(present);
      expect(readdirSync(host.volume("many", ".."))).to.deep.equal(["_data"]);
    };

    it("refuses to begin where there is too little room", async () => {
      const result = await host.skep(...host.restoreArgv(kit, "many"));
      expect(result.code).to.equal(1);
      const error = failureOf(result);
      expect(error).to.include({ code: "SKEP_RESTORE_NO_SPACE", permanent: true });
      expect(error.message).to.match(/volume many needs \d+ bytes, \d+ are free/);
      isUntouched();
    });

    it("takes back what it began where the room ends half-way, and succeeds once there is enough", async () => {
      await host.node.run(["mount", "-o", "remount,size=200m,nr_inodes=60", folder]);
      const result = await host.skep(...host.restoreArgv(kit, "many"));
      expect(result.code).to.equal(1);
      const error = failureOf(result);
      expect(error).to.include({ code: "SKEP_RESTORE_NO_SPACE", permanent: true });
      expect(error.message).to.contain("/volumes/many");
      isUntouched();
      await host.node.run(["mount", "-o", "remount,nr_inodes=1000", folder]);
      await host.restore(kit, "many");
      expect(host.tree("many")).to.contain("f199|f|");
    });
  });

  describe("of the agent's state", () => {
    before(async () => {
      await host.mountMemory(stateFolder, "size=1m");
      await fill(stateFolder);
    });
    const state = (): string[] => ["--state-dir", `${host.root}${stateFolder}`];

    it("backs up without a cache, and says so", async () => {
      const { code, run, stderr } = await host.backup(kit, "ledger", ...state());
      expect(code, stderr + JSON.stringify(run.parts)).to.equal(0);
      const { warnings } = partOf(run, "ledger");
      expect(warnings.map((warning) => warning.code)).to.deep.equal(["SKEP_CACHE_UNUSABLE"]);
      expect(warnings[0]?.message).to.contain(`${stateFolder}/chunks.sqlite cannot be used`);
      expect(await host.restored(kit, "ledger", run)).to.equal(tree);
    });

    it("restores nothing that it could not take back after a crash", async () => {
      const result = await host.skep(...host.restoreArgv(kit, "ledger", "--as", "ledger-anew", ...state()));
      expect(result.code).to.equal(1);
      const error = failureOf(result);
      expect(error.code).to.match(/^SKEP_STATE_/);
      expect(error.message).to.contain(stateFolder);
      expect(error.hint).to.contain("free space");
      expect(await host.docker("volume", "ls", "--quiet", "--filter", "name=ledger-anew")).to.equal("");
      expect(host.tree("ledger")).to.equal(tree);
    });

    it("fails the Raft part, and takes the volumes all the same", async () => {
      await host.docker("swarm", "init", "--advertise-addr", host.node.address);
      try {
        const { code, run } = readRun(await host.skep(...host.backupArgv(kit, "ledger", ...state())));
        expect(code).to.equal(1);
        expect(run.status).to.equal("failed");
        const raft = run.parts.find(({ kind }) => kind === "raft");
        if (raft === undefined) throw new Error("the run has no Raft part");
        const error = errorOf(raft);
        expect(error.code).to.match(/^SKEP_(STATE|RAFT)_/);
        expect(error.message).to.contain(stateFolder);
        expect(partOf(run, "ledger").status).to.equal("done");
        expect(readdirSync(join(host.root, stateFolder, "staging"))).to.deep.equal([]);
      } finally {
        await host.docker("swarm", "leave", "--force");
      }
    });
  });
}
