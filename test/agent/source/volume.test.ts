import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { walkTree, type WalkFindings } from "../../../agent/source/tree-walk.ts";
import { walkVolume } from "../../../agent/source/volume.ts";
import { decodeWalked, encodeWalked } from "../../../agent/source/walk-messages.ts";

const patient = new AbortController().signal;

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => null,
    (error: unknown) => error,
  );
}

describe("the walk through a volume, in a thread", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "skep-walk-"));
  });
  afterEach(() => {
    rmSync(root, { recursive: true, force: true });
  });

  it("gives what the walk through the tree gives, with paths to read from, without what is excluded", async () => {
    for (let folder = 0; folder < 30; folder++) {
      mkdirSync(join(root, `d${folder}`));
      for (let file = 0; file < 50; file++) writeFileSync(join(root, `d${folder}`, `f${file}`), "x".repeat(file));
    }
    const odd = Buffer.from([0x66, 0xff]);
    writeFileSync(Buffer.concat([Buffer.from(`${root}/`), odd]), "");
    writeFileSync(join(root, "left.tmp"), "");
    const found: WalkFindings = { warnings: [], warningsLeftOut: 0, complete: true };
    const expected = [...walkTree(root, (path) => path === "left.tmp", found)];
    expect(decodeWalked(encodeWalked(expected))).to.deep.equal(expected);
    const { entries, findings } = walkVolume(root, ["*.tmp"], patient);
    const all = await Array.fromAsync(entries);
    expect(all.map(({ metadata }) => metadata)).to.deep.equal(expected.map(({ metadata }) => metadata));
    expect(all.map(({ file }) => file?.inode)).to.deep.equal(expected.map(({ file }) => file?.inode));
    expect(all.find(({ metadata }) => metadata.path === "d7/f3")?.file?.path.toString()).to.equal(join(root, "d7/f3"));
    expect(all.at(-1)?.file?.path.subarray(-2).equals(odd)).to.be.true;
    expect(findings).to.deep.equal(found);
  });

  it("hands on the walk's failure", async () => {
    rmSync(root, { recursive: true });
    const { entries } = walkVolume(root, [], patient);
    expect(await failureOf(Array.fromAsync(entries))).to.include({ code: "SKEP_SOURCE_VOLUME_GONE", permanent: true });
  });

  it("ends at once when it is aborted", async () => {
    for (let index = 0; index < 200; index++) writeFileSync(join(root, `f${index}`), "");
    const controller = new AbortController();
    const reason = new Error("enough");
    const { entries } = walkVolume(root, [], controller.signal);
    let count = 0;
    const walk = (async () => {
      for await (const { metadata } of entries) {
        expect(metadata.type).to.be.a("string");
        if (++count === 10) controller.abort(reason);
      }
    })();
    expect(await failureOf(walk)).to.equal(reason);
    expect(count).to.equal(10);
    expect(await failureOf(Array.fromAsync(walkVolume(root, [], controller.signal).entries))).to.equal(reason);
  });
});
