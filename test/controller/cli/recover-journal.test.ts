import { expect } from "chai";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chooseJournal } from "../../../controller/cli/recover-journal.ts";
import { Journal, type JournalHead } from "../../../controller/recovery/journal.ts";

const mine = "a".repeat(64);
const now = Date.parse("2026-11-28T03:00:00.000Z");

describe("which journal a recovery goes on with", () => {
  let place: string;

  beforeEach(async () => {
    place = await mkdtemp(join(tmpdir(), "skep-recover-journal-"));
  });
  afterEach(() => rm(place, { recursive: true }));

  const begin = async (name: string, change: Partial<JournalHead> = {}): Promise<string> => {
    const folder = join(place, name);
    const journal = await Journal.open(folder, {
      ...{ format: 1, recoveryId: "a".repeat(12), mode: "quorum", repositoryId: "r", runId: `run of ${name}` },
      ...{ inventoryDigest: mine, startedAt: "2026-11-27T03:00:00.000Z" },
      ...change,
    });
    journal.record({ at: "2026-11-27T03:00:01.000Z", step: "fence", event: "done" });
    journal.close();
    return folder;
  };
  const choose = (more: { run?: string; journal?: string } = {}): ReturnType<typeof chooseJournal> =>
    chooseJournal({ run: "latest", mode: "quorum", ...more }, { inventoryDigest: mine, repositoryId: "r" }, now, place);

  it("is the unfinished one of this inventory and mode that was begun last, though a newer run came since", async () => {
    await begin("recovery-1");
    const newest = await begin("recovery-2", { startedAt: "2026-11-27T04:00:00.000Z" });
    await begin("recovery-3", { startedAt: "2026-11-27T05:00:00.000Z", mode: "raft" });
    await begin("recovery-4", { startedAt: "2026-11-27T05:00:00.000Z", inventoryDigest: "b".repeat(64) });
    await begin("elsewhere", { startedAt: "2026-11-27T05:00:00.000Z" });
    await begin("recovery-5", { startedAt: "2026-11-27T05:00:00.000Z", repositoryId: "another" });
    expect(await choose()).to.deep.include({ folder: newest, runId: "run of recovery-2" });
    expect((await choose()).found).to.include({ startedAt: "2026-11-27T04:00:00.000Z" });
    expect(await choose({ run: "another" })).to.deep.equal({ folder: null, runId: "another", found: null });
  });

  it("must be named where it was begun more than a day ago", async () => {
    const folder = await begin("recovery-1", { startedAt: "2026-11-27T02:59:59.000Z" });
    const refused = await choose().catch((error: unknown) => error as { code: string; message: string });
    expect(refused).to.include({ code: "SKEP_RECOVERY_JOURNAL_OLD" });
    expect(await choose({ journal: folder })).to.include({ folder });
  });

  it("is a new one where each that was begun has its report, or can't be read", async () => {
    await writeFile(join(await begin("recovery-1"), "report.json"), "{}");
    await mkdir(join(place, "recovery-2"));
    await writeFile(join(place, "recovery-2", "journal.jsonl"), '{"format":2}\n');
    await mkdir(join(place, "recovery-3"));
    expect(await choose()).to.deep.equal({ folder: null, runId: "latest", found: null });
  });

  it("is the one that is named, with its run; a damaged one is refused", async () => {
    const named = await begin("recovery-1", { mode: "raft" });
    expect(await choose({ journal: named })).to.deep.equal({ folder: named, runId: "run of recovery-1", found: null });
    expect(await choose({ journal: join(place, "none") })).to.deep.equal({
      ...{ folder: join(place, "none"), runId: "latest", found: null },
    });
    await writeFile(join(named, "journal.jsonl"), "no journal\n");
    const refused = await choose({ journal: named }).catch((error: unknown) => (error as { code: string }).code);
    expect(refused).to.equal("SKEP_RECOVERY_JOURNAL_INVALID");
  });
});
