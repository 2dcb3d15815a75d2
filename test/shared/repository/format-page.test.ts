import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeArchive } from "../../../shared/repository/archive-writer.ts";
import { encodeIdentityFile } from "../../../shared/repository/identity-file.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { backUp, makePlace } from "./snapshots.ts";
import { walk } from "./walk.ts";

const docs = fileURLToPath(new URL("../../../docs", import.meta.url));
const reader = fileURLToPath(new URL("../../../controller/runbook/restore-by-hand.py", import.meta.url));
const page = readFileSync(join(docs, "FORMAT.md"), "utf8");

describe("docs/FORMAT.md", () => {
  it("opens archives, manifests, packs and a whole volume by hand, in the steps it tells", async () => {
    const place = await makePlace();
    try {
      const at = (...names: string[]): string => join(place.source, ...names);
      mkdirSync(at("folder"), { mode: 0o710 });
      writeFileSync(at("folder", "small"), "hello", { mode: 0o640 });
      writeFileSync(at("folder", "large"), randomBytes(3_000_000));
      writeFileSync(at("zeros"), Buffer.alloc(700_000));
      linkSync(at("folder", "small"), at("link"));
      symlinkSync("nowhere", at("symlink"));
      const snapshot = await backUp(place);
      const content = Buffer.from("raft, as it were");
      await writeArchive({
        store: place.store,
        runId: "20261121-030000-abcdef",
        epoch: place.made.repositoryObject.epoch,
        files: [{ path: "raft/wal", mode: 0o600, mtimeMs: 0, sizeBytes: content.length, content }],
      });
      writeFileSync(join(place.storePath, "identity.txt"), encodeIdentityFile(place.made.identityFile), {
        mode: 0o600,
      });
      const steps = [...page.matchAll(/```sh\n(.*?)```/gs)].map((match) => match[1]);
      expect(steps.length).to.equal(4);
      const output = execFileSync("sh", ["-euc", steps.join("\n")], {
        cwd: place.storePath,
        env: { ...process.env, READER: reader },
        encoding: "utf8",
      });
      expect(readFileSync(join(place.storePath, "archive", "raft", "wal"), "utf8")).to.equal("raft, as it were");
      expect(output).to.include(`"volume":"data"`).and.to.include("SKEPPACK");
      expect(output).to.match(new RegExp(`^${snapshot.totals.newBytes}$`, "m"));

      const restored = join(place.storePath, "restored");
      const facts = async (root: string): Promise<unknown[]> =>
        (await Array.fromAsync(walk(root))).map(({ metadata, file }) => [
          metadata,
          file === null ? null : readFileSync(file.path).toString("base64"),
        ]);
      expect(await facts(restored)).to.deep.equal(await facts(place.source));
    } finally {
      await place.remove();
    }
  });

  it("lists every kind of key that the layout has", () => {
    const pack = `ee${"f".repeat(62)}`;
    const words: [string, string][] = [
      ["0000000001", "VERSION"],
      ["0000000002", "EPOCH"],
      ["0000000003", "SEQUENCE"],
      ["the-writer", "WRITER"],
      ["the-run", "RUN"],
      ["the-object", "ID"],
      ["the-hash/0000", "SHA256/PIECE"],
      [`ee/${pack}`, "AA/PACK"],
    ];
    const keys = [
      layout.repository(1),
      layout.repositoryKey(1),
      layout.epochKey(2, 1),
      layout.policy(1),
      layout.protection(1),
      layout.agent("the-writer", 1),
      layout.pack(pack),
      layout.index("the-writer", "the-object"),
      layout.manifest("the-run", "the-object"),
      layout.refs("the-run", "the-object"),
      layout.archive("the-run", "the-object"),
      layout.kitList(1),
      layout.kitPiece("the-hash", 0),
      layout.run(3),
    ].map((key) => words.reduce((named, [sample, word]) => named.replace(sample, word), key));
    const listed = [...page.matchAll(/^\| `([a-z]+\/[^`]+)` +\|/gm)].map((match) => match[1]);
    expect(listed.sort()).to.deep.equal(keys.sort());
  });
});
