import { expect } from "chai";
import { contentOf } from "../../agent/restore-load.ts";
import type { Snapshot, SnapshotEntry } from "../../shared/repository/open/snapshot-reader.ts";
import { expectCode } from "../shared/repository/expect-code.ts";

describe("a dump that is given back", () => {
  const handed = async (entries: object[], content: Buffer[]): Promise<string> => {
    const snapshot: Pick<Snapshot, "entries" | "content"> = {
      entries: async function* () {
        yield* (await Promise.resolve(entries)) as SnapshotEntry[];
      },
      content: async function* () {
        yield* await Promise.resolve(content);
      },
    };
    let all = "";
    for await (const piece of contentOf(snapshot)) all += Buffer.from(piece).toString();
    return all;
  };
  const folder = { path: "", type: "directory" };

  it("may be empty, but is refused where its snapshot has no file of that name", async () => {
    const file = { path: "dump", type: "file" };
    expect(await handed([folder, file], [Buffer.from("a"), Buffer.from("b")])).to.equal("ab");
    expect(await handed([folder, file], [])).to.equal("");
    for (const other of [[], [{ path: "dumb", type: "file" }], [{ path: "dump", type: "directory" }]]) {
      await expectCode("SKEP_MANIFEST_INVALID", () => handed([folder, ...other], []));
    }
  });
});
