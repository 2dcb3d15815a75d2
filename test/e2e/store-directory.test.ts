// The directory store on real file systems that are full, read-only or not ours, and under processes that die and race.
import { execFile, spawn } from "node:child_process";
import { chmod, chown, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import { openDirectory } from "../../shared/store/directory.ts";
import { bytesFor } from "../shared/store/put-all.ts";
import { collect, rejects } from "../shared/store/suite.ts";

const run = promisify(execFile);
const program = join(import.meta.dirname, "../shared/store/put-all.ts");
const nobody = 65534;
const mebibyte = 1024 * 1024;

describe("the directory store on real file systems", () => {
  let scratch: string;
  let root: string;
  let isMounted: boolean;

  beforeEach(async () => {
    scratch = await mkdtemp(join(tmpdir(), "skep-store-"));
    root = join(scratch, "store");
    await mkdir(root);
    isMounted = false;
  });

  afterEach(async () => {
    if (isMounted) await run("umount", [root]);
    await rm(scratch, { recursive: true });
  });

  async function mount(options: string): Promise<void> {
    await run("mount", ["-t", "tmpfs", "-o", options, "skep-test", root]);
    isMounted = true;
  }

  it("says that there is no room, leaves nothing of the object, and goes on when there is room again", async () => {
    await mount(`size=${8 * mebibyte}`);
    const store = openDirectory(root);
    await store.put("kept", Buffer.alloc(4 * mebibyte, 1));
    const putting = store.put("packs/a", Buffer.alloc(5 * mebibyte));
    const error = await rejects(putting, "SKEP_STORE_FULL", true, "put packs/a", root, "ENOSPC");
    expect(error.hint).to.match(/prune/);
    await rejects(store.putIfAbsent("packs/a", Buffer.alloc(5 * mebibyte)), "SKEP_STORE_FULL", true);
    expect((await collect(store.list(""))).map(({ key }) => key)).to.deep.equal(["kept"]);
    expect(await readdir(join(root, "+partial"))).to.deep.equal([]);
    await store.delete(["kept"]);
    await store.put("packs/a", Buffer.alloc(5 * mebibyte));
  });

  it("says that the file system is read-only, and reads on", async () => {
    await mount("size=8m");
    const store = openDirectory(root);
    await store.put("a", Buffer.from("x"));
    await run("mount", ["-o", "remount,ro", root]);
    await rejects(store.put("b", Buffer.from("x")), "SKEP_STORE_DENIED", true, "put b", "read-only");
    await rejects(store.delete(["a"]), "SKEP_STORE_DENIED", true, "delete a", "read-only");
    expect(Buffer.from((await store.get("a", 1)) ?? "").toString()).to.equal("x");
  });

  it("says that a folder is not ours to write to", async () => {
    await chmod(scratch, 0o711);
    await chmod(root, 0o755);
    const { stdout } = await run(process.execPath, [program, root, "create", "a", "x"], { uid: nobody, gid: nobody });
    expect(stdout).to.match(/^SKEP_STORE_DENIED true cannot create a at .*EACCES/);
    await chown(root, nobody, nobody);
    const owned = await run(process.execPath, [program, root, "create", "a", "x"], { uid: nobody, gid: nobody });
    expect(owned.stdout).to.equal("won");
  });

  it("holds only whole objects after its process was killed, whenever that was", async () => {
    const keys = Array.from({ length: 200 }, (_, index) => `packs/${String(index).padStart(3, "0")}`);
    const store = openDirectory(root);
    let told: string[] = [];
    for (const afterMs of [5, 20, 60, 150]) {
      const child = spawn(process.execPath, [program, root, "put", ...keys], { stdio: ["ignore", "pipe", "inherit"] });
      let output = "";
      child.stdout.on("data", (piece: Buffer) => {
        output += piece.toString();
      });
      const ended = new Promise((resolve) => child.on("close", resolve));
      while (output === "") await new Promise((resolve) => setTimeout(resolve, 1));
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      child.kill("SIGKILL");
      await ended;
      told = output.split("\n").slice(0, -1);
      const held = (await collect(store.list(""))).map(({ key }) => key);
      expect(held).to.include.members(told); // what was acknowledged is there
      for (const key of held) {
        expect(bytesFor(key).equals((await store.get(key, 8 * mebibyte)) ?? new Uint8Array()), key).to.be.true;
      }
    }
    expect(told).to.not.be.empty;
  });

  it("lets one of several processes create an object", async () => {
    const writers = Array.from({ length: 8 }, (_, index) => `writer ${index}`);
    const results = await Promise.all(
      writers.map((text) => run(process.execPath, [program, root, "create", "a/b", text])),
    );
    const winners = writers.filter((_, index) => results[index]?.stdout === "won");
    expect(winners).to.have.length(1);
    expect(results.filter(({ stdout }) => stdout === "lost")).to.have.length(7);
    expect(Buffer.from((await openDirectory(root).get("a/b", 100)) ?? "").toString()).to.equal(winners[0]);
  });
});
