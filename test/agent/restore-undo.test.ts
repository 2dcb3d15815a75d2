import { expect } from "chai";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AgentContext } from "../../agent/context.ts";
import { Journal } from "../../agent/journal.ts";
import { discardRestore, undoRestore } from "../../agent/restore.ts";
import { mergeIn, readSwaps, swapPaths, writeSwap } from "../../agent/volume-swap.ts";
import { expectCode } from "../shared/repository/expect-code.ts";

const attempt = { jobId: "job", number: 1, signal: new AbortController().signal, onProgress: () => undefined };
/** Files are put back without a word to the engine. */
const noEngine = {} as AgentContext;

describe("the undo of a restore of files", () => {
  let root: string;
  let journal: Journal;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "skep-undo-"));
    journal = new Journal(join(root, "journal.sqlite"));
    for (const volume of ["www", "other"]) {
      mkdirSync(join(root, volume, "_data"), { recursive: true });
      writeFileSync(join(root, volume, "_data", "page"), "of today");
    }
  });
  afterEach(() => {
    journal.close();
    rmSync(root, { recursive: true });
  });
  const page = (volume = "www"): string => readFileSync(join(root, volume, "_data", "page"), "utf8");
  async function restore(restoreId: string, content: string, volume = "www"): Promise<void> {
    const given = { restoreId, volume, folder: join(root, volume), madeVolume: false, merge: true } as const;
    const record = writeSwap(journal, { ...given, state: "filling" });
    mkdirSync(swapPaths(record).new);
    writeFileSync(join(swapPaths(record).new, "page"), content);
    await mergeIn(journal, record, "update", attempt.signal);
  }
  const undo = (restoreId: string): Promise<unknown> =>
    undoRestore({ kind: "restore-undo", restoreId }, noEngine, journal, attempt);

  it("goes from the newest back, whatever their ids, and leaves other volumes alone", async () => {
    await restore("zzzzzzzzzzzz", "of Monday");
    await restore("aaaaaaaaaaaa", "of Tuesday");
    await restore("mmmmmmmmmmmm", "elsewhere", "other");
    await expectCode("SKEP_RESTORE_NEWER", () => undo("zzzzzzzzzzzz"));
    expect(page()).to.equal("of Tuesday");
    await undo("aaaaaaaaaaaa");
    expect(page()).to.equal("of Monday");
    await undo("zzzzzzzzzzzz");
    expect(page()).to.equal("of today");
    expect(page("other")).to.equal("elsewhere");
    expect(readSwaps(journal).map(({ restoreId }) => restoreId)).to.deep.equal(["mmmmmmmmmmmm"]);
  });

  it("is free again where the newer one was discarded", async () => {
    await restore("zzzzzzzzzzzz", "of Monday");
    await restore("aaaaaaaaaaaa", "of Tuesday");
    await discardRestore({ kind: "restore-discard", restoreId: "aaaaaaaaaaaa" }, journal);
    await undo("zzzzzzzzzzzz");
    expect(page()).to.equal("of today");
  });
});
