import { expect } from "chai";
import { loadOf, restoreTimeoutMs, type RestoreWish } from "../../controller/restore-order.ts";
import type { SkepError } from "../../shared/errors.ts";
import type { Part } from "../../shared/repository/run.ts";

const part: Part = {
  ...{ kind: "dump", name: "host1/db", nodeId: "node1", hostname: "host1", status: "done", attempt: 1 },
  ...{ startedAt: "2026-11-20T03:00:00.000Z", endedAt: "2026-11-20T03:00:01.000Z", warnings: [], warningsLeftOut: 0 },
  load: { argv: ["psql"], container: "db", user: "postgres", timeoutSeconds: 90 },
};
const wish = (more: Partial<RestoreWish> = {}): RestoreWish => ({
  ...{ targetName: "db", stop: false, loadInto: undefined, isOfFiles: false },
  ...more,
});
function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return (error as SkepError).code;
  }
  return "none";
}

describe("how a dump goes back", () => {
  it("is by the command that was kept with it, in its own container or in another", () => {
    const command = { volume: "db", argv: ["psql"], container: "db", user: "postgres", timeoutSeconds: 90 };
    expect(loadOf(part, "db", wish())).to.deep.equal(command);
    expect(loadOf(part, "db", wish({ loadInto: "other" }))).to.deep.equal({ ...command, container: "other" });
    const said = { ...part, load: { argv: ["psql"], container: null, saidBy: "db", user: null } };
    expect(loadOf(said, "db", wish())).to.deep.include({ container: null, saidBy: "db" });
    expect(loadOf(said, "db", wish({ loadInto: "other" })))
      .to.include({ container: "other" })
      .and.not.have.key("saidBy");
    const older = { ...part, load: { argv: ["psql"], container: null, user: null } };
    expect(loadOf(older, "db", wish())?.timeoutSeconds).to.equal(4 * 3600);
  });

  it("is as a file beside its volume, and never over it", () => {
    expect(loadOf(part, "db", wish({ targetName: "db-dump" }))).to.equal(null);
    const without = { ...part };
    delete without.load;
    expect(codeOf(() => loadOf(without, "db", wish()))).to.equal("SKEP_RESTORE_IS_DUMP");
    expect(loadOf(without, "db", wish({ targetName: "db-dump" }))).to.equal(null);
  });

  it("is into a server that runs, and for dumps alone", () => {
    expect(codeOf(() => loadOf(part, "db", wish({ stop: true })))).to.equal("SKEP_LOAD_UNFIT");
    expect(codeOf(() => loadOf(part, "db", wish({ targetName: "db-dump", loadInto: "db" })))).to.equal(
      "SKEP_LOAD_UNFIT",
    );
    const volume = { ...part, kind: "volume" as const };
    expect(loadOf(volume, "db", wish({ stop: true }))).to.equal(null);
    expect(codeOf(() => loadOf(volume, "db", wish({ loadInto: "db" })))).to.equal("SKEP_LOAD_UNFIT");
  });

  it("is no matter of chosen files: a dump has none that belong into its volume, and those of others are not loaded", () => {
    const isOfFiles = true;
    expect(codeOf(() => loadOf(part, "db", wish({ isOfFiles })))).to.equal("SKEP_LOAD_UNFIT");
    expect(codeOf(() => loadOf(part, "db", wish({ isOfFiles, loadInto: "db" })))).to.equal("SKEP_LOAD_UNFIT");
    const beside = { isOfFiles, targetName: "db-dump" };
    expect(loadOf(part, "db", wish(beside))).to.equal(null);
    expect(codeOf(() => loadOf(part, "db", wish({ ...beside, loadInto: "db" })))).to.equal("SKEP_LOAD_UNFIT");
    const volume = { ...part, kind: "volume" as const };
    expect(loadOf(volume, "db", wish({ isOfFiles }))).to.equal(null);
    expect(codeOf(() => loadOf(volume, "db", wish({ isOfFiles, loadInto: "db" })))).to.equal("SKEP_LOAD_UNFIT");
  });

  it("may take as long as its label said", () => {
    const load = loadOf(part, "db", wish());
    if (load === null) throw new Error("no load");
    const order = { sourceBytes: 10 ** 12, load } as unknown as Parameters<typeof restoreTimeoutMs>[0];
    expect(restoreTimeoutMs(order)).to.equal(15 * 60_000 + 90_000);
  });
});
