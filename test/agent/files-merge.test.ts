import type { ExistingFiles } from "../../shared/contract/chosen-files.ts";
import { expect } from "chai";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { whatIsAt } from "../../agent/files-merge.ts";
import { Journal } from "../../agent/journal.ts";
import { mergeBack, mergeIn, readSwap, recoverSwap, writeSwap, type SwapRecord } from "../../agent/volume-swap.ts";

const restoreId = "abcdefghijkl";
const { signal } = new AbortController();

describe("files put into a volume that lives on", () => {
  let root: string;
  let folder: string;
  let data: string;
  let fresh: string;
  let journal: Journal;
  let record: SwapRecord;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "skep-merge-"));
    folder = join(root, "volumes", "www");
    data = join(folder, "_data");
    fresh = join(folder, `_data.skep-new-${restoreId}`);
    put(data, { "etc/conf": "now", "etc/same": "same", "etc/own": "own", top: "now" });
    put(fresh, { "etc/conf": "then", "etc/same": "same", "etc/lost": "then", "gone/a/b": "then", top: "then" });
    journal = new Journal(join(root, "journal.sqlite"));
    record = writeSwap(journal, { restoreId, volume: "www", folder, madeVolume: false, merge: true, state: "filling" });
  });
  afterEach(() => {
    journal.close();
    rmSync(root, { recursive: true, force: true });
  });
  const put = (place: string, files: Record<string, string>): void => {
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(join(place, name, ".."), { recursive: true });
      writeFileSync(join(place, name), content);
    }
  };
  const contents = (): Record<string, string> => {
    const names = execFileSync("find", [data, "-not", "-type", "d", "-printf", "%P\n"], { encoding: "utf8" }).trim();
    return Object.fromEntries(names.split("\n").map((name) => [name, readFileSync(join(data, name), "utf8")]));
  };
  const siblings = (): string[] => readdirSync(folder).sort();
  const merge = (existing: ExistingFiles): ReturnType<typeof mergeIn> => mergeIn(journal, record, existing, signal);
  const before = { "etc/conf": "now", "etc/own": "own", "etc/same": "same", top: "now" };
  const after = { ...before, "etc/conf": "then", "etc/lost": "then", "gone/a/b": "then", top: "then" };
  async function expectRefused(code: string, existing: ExistingFiles): Promise<void> {
    const error: unknown = await merge(existing).catch((thrown: unknown) => thrown);
    expect(error).to.include({ code });
    expect(contents()).to.deep.equal(before);
    expect(await recoverSwap(journal, readSwap(journal, restoreId) ?? expect.fail("no record"))).to.equal("taken back");
    expect(siblings()).to.deep.equal(["_data"]);
  }

  it("are put in place and replace others, each kept: an undo gives back just what was there", async () => {
    const { ino } = statSync(join(data, "top"));
    const merged = await merge("update");
    expect(merged.plan).to.deep.equal({ made: 2, replaced: 2, equal: 1, left: 0 });
    expect(contents()).to.deep.equal(after);
    expect(siblings()).to.deep.equal(["_data", `_data.skep-old-${restoreId}`]);
    writeFileSync(join(data, "etc/own"), "changed since");
    await mergeBack(journal, merged.record ?? expect.fail("no record"));
    expect(contents()).to.deep.equal({ ...before, "etc/own": "changed since" });
    expect(statSync(join(data, "top")).ino).to.equal(ino);
    expect(existsSync(join(data, "gone"))).to.be.false;
    expect(siblings()).to.deep.equal(["_data"]);
    expect(readSwap(journal, restoreId)).to.equal(null);
  });

  it("leave what is there and differs when told to skip it, and stop before the first change when told to fail", async () => {
    expect((await merge("skip")).plan).to.deep.equal({ made: 2, replaced: 0, equal: 1, left: 2 });
    expect(contents()).to.deep.equal({ ...after, "etc/conf": "now", top: "now" });
  });

  it("change nothing where one is there that differs, and are named", async () => {
    await expectRefused("SKEP_RESTORE_FILE_EXISTS", "fail");
  });

  it("stay as they are where all is equal, owner and mode too, and nothing is kept", async () => {
    rmSync(fresh, { recursive: true });
    put(fresh, { "etc/same": "same", top: "now" });
    expect(await merge("fail")).to.deep.include({ record: null });
    expect(siblings()).to.deep.equal(["_data"]);
    put(fresh, { top: "now" });
    chmodSync(join(fresh, "top"), 0o600);
    record = writeSwap(journal, record);
    expect((await merge("update")).plan).to.include({ replaced: 1 });
    expect(statSync(join(data, "top")).mode & 0o777).to.equal(0o600);
  });

  it("go through no link of the volume", async () => {
    const outside = join(root, "outside");
    mkdirSync(outside);
    rmSync(join(data, "etc"), { recursive: true });
    symlinkSync(outside, join(data, "etc"));
    const refused: unknown = await merge("update").catch((thrown: unknown) => thrown);
    expect(refused).to.include({ code: "SKEP_RESTORE_FILE_IN_THE_WAY" });
    expect(readdirSync(outside)).to.deep.equal([]);
    expect(whatIsAt(data, Buffer.from("etc"))).to.equal("other");
    expect(whatIsAt(data, Buffer.from("etc/conf"))).to.equal("other");
    expect(whatIsAt(data, Buffer.from("top"))).to.equal("file");
    expect(whatIsAt(data, Buffer.from("none/at/all"))).to.equal("nothing");
  });

  it("take the place of no folder", async () => {
    rmSync(join(fresh, "etc"), { recursive: true });
    put(fresh, { etc: "a file" });
    await expectRefused("SKEP_RESTORE_FILE_IN_THE_WAY", "update");
  });

  it("keep what came since they were compared, and put it back as well", async () => {
    const came = (step: string): void => {
      if (step === "before files are put in place") put(data, { "etc/lost": "came", "gone/a/c": "came" });
    };
    const merged = await mergeIn(journal, record, "update", signal, came);
    expect(contents()).to.deep.equal({ ...after, "gone/a/c": "came" });
    await mergeBack(journal, merged.record ?? expect.fail("no record"));
    expect(contents()).to.deep.equal({ ...before, "etc/lost": "came", "gone/a/c": "came" });
  });

  it("go into no folder that another one of the same filesystem is mounted at, and change nothing then", async () => {
    const outside = join(root, "outside");
    mkdirSync(outside);
    mkdirSync(join(data, "gone"));
    execFileSync("mount", ["--bind", outside, join(data, "gone")]);
    try {
      await expectRefused("SKEP_RESTORE_FILE_IN_THE_WAY", "update");
      put(fresh, { "gone/a/b": "then", top: "then" });
      record = writeSwap(journal, record);
      expect((await merge("skip")).plan).to.deep.equal({ made: 0, replaced: 0, equal: 0, left: 2 });
      expect(readdirSync(outside)).to.deep.equal([]);
    } finally {
      execFileSync("umount", [join(data, "gone")]);
    }
  });

  /** A folder where the last of the files is to be put. */
  const stand = (name: string): void => {
    rmSync(join(data, name), { recursive: true, force: true });
    mkdirSync(join(data, name));
  };
  const withoutTop = { "etc/conf": "now", "etc/own": "own", "etc/same": "same" };

  it("are taken out again where one of them can't be put in place, and what came meanwhile stays", async () => {
    const came = (step: string): void => {
      if (step !== "before files are put in place") return;
      stand("top");
      put(data, { "top/new": "came" });
    };
    const refused: unknown = await mergeIn(journal, record, "update", signal, came).catch((thrown: unknown) => thrown);
    expect(refused).to.include({ code: "SKEP_RESTORE_FILE_IN_THE_WAY" });
    expect((refused as Error).message)
      .to.contain('"top"')
      .and.contain("there is a folder now");
    expect(contents()).to.deep.equal({ ...withoutTop, "top/new": "came" });
    expect(siblings()).to.deep.equal(["_data"]);
    expect(readSwap(journal, restoreId)).to.equal(null);
  });

  it("leave what somebody put where they were not yet, when they are taken out again", async () => {
    const came = (step: string): void => {
      if (step !== "between two files" || !existsSync(join(fresh, "gone"))) return;
      stand("etc/lost");
      put(data, { "gone/own": "came", top: "came" });
    };
    expect(await mergeIn(journal, record, "update", signal, came).catch((thrown: unknown) => thrown)).to.include({
      code: "SKEP_RESTORE_FILE_IN_THE_WAY",
    });
    expect(contents()).to.deep.equal({ ...withoutTop, "gone/own": "came", top: "came" });
    expect(siblings()).to.deep.equal(["_data"]);
  });

  it("are not put into what is no folder any more, and then nothing is changed", async () => {
    const came = (step: string): void => {
      if (step !== "before files are put in place") return;
      rmSync(join(data, "etc"), { recursive: true });
      put(data, { etc: "came" });
    };
    expect(await mergeIn(journal, record, "update", signal, came).catch((thrown: unknown) => thrown)).to.include({
      code: "SKEP_RESTORE_FILE_IN_THE_WAY",
    });
    expect(contents()).to.deep.equal({ etc: "came", top: "now" });
    expect(siblings()).to.deep.equal(["_data"]);
  });

  it("are kept for a person where they can be neither finished nor taken out, said by code at each start, and no more", async () => {
    const came = (step: string): void => {
      if (step !== "between two files" || !existsSync(join(fresh, "etc/lost"))) return;
      stand("etc/conf");
      stand("top");
    };
    expect(await mergeIn(journal, record, "update", signal, came).catch((thrown: unknown) => thrown)).to.include({
      code: "SKEP_SWAP_STUCK",
      permanent: true,
    });
    const start = async (): Promise<unknown> =>
      recoverSwap(journal, readSwap(journal, restoreId) ?? expect.fail("no record")).catch((thrown: unknown) => thrown);
    for (const time of [1, 2]) {
      expect(await start(), String(time)).to.include({ code: "SKEP_RESTORE_FILE_IN_THE_WAY", permanent: true });
    }
    rmSync(join(data, "etc/conf"), { recursive: true });
    expect(await start()).to.equal("taken back");
    expect(contents()).to.deep.equal(withoutTop);
    expect(siblings()).to.deep.equal(["_data"]);
  });

  it("are taken out again at a start that finds something in the way, which is said once", async () => {
    journal.close();
    const arguments_ = [join(root, "journal.sqlite"), restoreId, "merge", "between two files"];
    spawnSync(process.execPath, [new URL("./merge-child.ts", import.meta.url).pathname, ...arguments_]);
    journal = new Journal(join(root, "journal.sqlite"));
    stand("top");
    const found = readSwap(journal, restoreId) ?? expect.fail("no record");
    const refused: unknown = await recoverSwap(journal, found).catch((thrown: unknown) => thrown);
    expect(refused).to.include({ code: "SKEP_RESTORE_FILE_IN_THE_WAY" });
    expect(contents()).to.deep.equal(withoutTop);
    expect(siblings()).to.deep.equal(["_data"]);
    expect(readSwap(journal, restoreId)).to.equal(null);
  });

  for (const [act, step, outcome] of [
    ["merge", "before the journal says swapping", "taken back"],
    ["merge", "between two files", "in place"],
    ["undo", "between two files put back", "taken back"],
  ] as const) {
    it(`are all there or none is, after a SIGKILL in ${act} ${step}`, async () => {
      if (act === "undo") await merge("update");
      journal.close();
      const arguments_ = [join(root, "journal.sqlite"), restoreId, act, step];
      const child = spawnSync(process.execPath, [new URL("./merge-child.ts", import.meta.url).pathname, ...arguments_]);
      expect(child.signal, child.stderr.toString()).to.equal("SIGKILL");
      journal = new Journal(join(root, "journal.sqlite"));
      const found = readSwap(journal, restoreId) ?? expect.fail("no record");
      expect(await recoverSwap(journal, found)).to.equal(outcome);
      expect(contents()).to.deep.equal(outcome === "in place" ? after : before);
      if (outcome === "in place") await mergeBack(journal, readSwap(journal, restoreId) ?? found);
      expect(contents()).to.deep.equal(before);
      expect(siblings()).to.deep.equal(["_data"]);
    });
  }
});
