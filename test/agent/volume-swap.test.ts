import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { Journal } from "../../agent/journal.ts";
import {
  discardOld,
  readSwap,
  recoverSwap,
  swapBack,
  swapIn,
  writeSwap,
  type SwapRecord,
} from "../../agent/volume-swap.ts";

const restoreId = "abcdefghijkl";

describe("the swap of a volume's folder", () => {
  let root: string;
  let folder: string;
  let journalFile: string;
  let journal: Journal;
  let record: SwapRecord;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "skep-swap-"));
    folder = join(root, "volumes", "db");
    mkdirSync(join(folder, "_data"), { recursive: true });
    writeFileSync(join(folder, "_data", "content"), "former");
    mkdirSync(join(folder, `_data.skep-new-${restoreId}`));
    writeFileSync(join(folder, `_data.skep-new-${restoreId}`, "content"), "restored");
    journalFile = join(root, "journal.sqlite");
    journal = new Journal(journalFile);
    record = writeSwap(journal, { restoreId, volume: "db", folder, madeVolume: false, state: "filling" });
  });
  afterEach(() => {
    journal.close();
    rmSync(root, { recursive: true, force: true });
  });
  const content = (): string => readFileSync(join(folder, "_data", "content"), "utf8");
  const names = (): string[] => readdirSync(folder).sort();
  const recorded = (): SwapRecord => {
    const found = readSwap(journal, restoreId);
    if (found === null) throw new Error("the journal has no record of the swap");
    return found;
  };

  it("puts the restored content in place, keeps the former, and puts it back", async () => {
    record = await swapIn(journal, record);
    expect(content()).to.equal("restored");
    expect(names()).to.deep.equal(["_data", `_data.skep-old-${restoreId}`]);
    await swapBack(journal, record);
    expect(content()).to.equal("former");
    expect(names()).to.deep.equal(["_data"]);
    expect(readSwap(journal, restoreId)).to.equal(null);
  });

  it("discards the former content when told to", async () => {
    await discardOld(journal, await swapIn(journal, record));
    expect(content()).to.equal("restored");
    expect(names()).to.deep.equal(["_data"]);
    expect(readSwap(journal, restoreId)).to.equal(null);
  });

  const deaths: [act: "swap" | "undo" | "discard", step: string, outcome: string, content: string][] = [
    ["swap", "before the journal says swapping", "taken back", "former"],
    ["swap", "before the old content is set aside", "taken back", "former"],
    ["swap", "between the two renames", "in place", "restored"],
    ["swap", "before the journal says swapped", "in place", "restored"],
    ["undo", "before the restored content is set aside", "in place", "restored"],
    ["undo", "between the two renames back", "taken back", "former"],
    ["undo", "before the restored content is removed", "taken back", "former"],
    ["discard", "before the old content is removed", "discarded", "restored"],
  ];
  for (const [act, step, outcome, left] of deaths) {
    it(`is whole again after a SIGKILL in ${act} ${step}`, async () => {
      if (act !== "swap") await swapIn(journal, record);
      journal.close();
      const child = spawnSync(process.execPath, [
        new URL("./swap-child.ts", import.meta.url).pathname,
        ...[journalFile, restoreId, act, step],
      ]);
      expect(child.signal, child.stderr.toString()).to.equal("SIGKILL");
      journal = new Journal(journalFile);

      expect(await recoverSwap(journal, recorded())).to.equal(outcome);

      expect(content()).to.equal(left);
      const kept = outcome === "in place";
      expect(existsSync(join(folder, `_data.skep-old-${restoreId}`))).to.equal(kept);
      expect(names()).to.have.length(kept ? 2 : 1);
      if (kept) {
        expect(await recoverSwap(journal, recorded()), "a second recovery").to.equal("in place");
        await swapBack(journal, recorded());
        expect(content(), "after undo").to.equal("former");
      } else expect(readSwap(journal, restoreId)).to.equal(null);
    });
  }

  it("replaces an empty folder that Docker made where the volume's was missing", async () => {
    writeSwap(journal, { ...record, state: "swapping" });
    rmSync(join(folder, "_data"), { recursive: true });
    mkdirSync(join(folder, `_data.skep-old-${restoreId}`));
    mkdirSync(join(folder, "_data"));
    expect(await recoverSwap(journal, recorded())).to.equal("in place");
    expect(content()).to.equal("restored");
  });

  it("touches nothing where the folders are not as a crash would leave them", async () => {
    writeSwap(journal, { ...record, state: "swapping" });
    mkdirSync(join(folder, `_data.skep-old-${restoreId}`));
    const before = names();
    const error: unknown = await recoverSwap(journal, recorded()).catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: "SKEP_SWAP_STUCK" });
    expect(names()).to.deep.equal(before);
    expect(content()).to.equal("former");
  });
});
