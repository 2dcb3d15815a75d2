import { expect } from "chai";
import { randomBytes } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { sortKeyOf } from "../../../shared/repository/path-order.ts";
import type { SnapshotProgress } from "../../../shared/repository/snapshot-tally.ts";
import type { SnapshotResult } from "../../../shared/repository/snapshot.ts";
import { beforeEachPut } from "../store/before-put.ts";
import { backUp, makePlace, openBack, readBack, type Place, type Tree } from "./snapshots.ts";
import { walk } from "./walk.ts";

const MiB = 1024 * 1024;

/** What the tree says must be what the folder holds. */
async function expectSame(place: Place, result: SnapshotResult): Promise<Tree> {
  const tree = await readBack(place, result);
  const paths: string[] = [];
  for await (const { metadata, file } of walk(place.source)) {
    const { path, pathBase64, ...rest } = metadata;
    const key =
      path === undefined
        ? Buffer.from(pathBase64 ?? "", "base64").toString("latin1")
        : Buffer.from(path).toString("latin1");
    paths.push(key);
    const found = tree.get(key);
    if (found === undefined) throw new Error(`${key} is missing`);
    const { content, sizeBytes, ...metadataFound } = found;
    expect(metadataFound, key).to.deep.equal(rest);
    if (file === null) continue;
    const onDisk = readFileSync(file.path);
    expect(sizeBytes, key).to.equal(onDisk.length);
    expect(content?.equals(onDisk), key).to.be.true;
  }
  expect([...tree.keys()]).to.deep.equal(paths);
  return tree;
}

describe("a snapshot", () => {
  let place: Place;

  beforeEach(async () => {
    place = await makePlace();
  });
  afterEach(async () => {
    await place.remove();
  });

  const at = (...names: string[]): string => join(place.source, ...names);

  it("of an empty volume comes back", async () => {
    const result = await backUp(place);
    const tree = await expectSame(place, result);
    expect(tree.size).to.equal(1);
    expect(result.totals).to.include({ files: 0, directories: 1, others: 0, sourceBytes: 0 });
  });

  it("comes back as it was: small and large files, links, odd names, zeros", async () => {
    mkdirSync(at("a", "b"), { recursive: true });
    mkdirSync(at("empty"), { mode: 0o711 });
    writeFileSync(at("a", "nothing"), "");
    writeFileSync(at("a", "small"), "hello", { mode: 0o600 });
    writeFileSync(at("a", "b", "large"), randomBytes(9 * MiB + 17));
    writeFileSync(at("a-b"), "sorts between the folder a and what is in it, by plain bytes");
    writeFileSync(at("zeros"), Buffer.alloc(5 * MiB));
    writeFileSync(at("few zeros"), Buffer.alloc(1000));
    writeFileSync(at("holes"), randomBytes(700_000));
    truncateSync(at("holes"), 40 * MiB);
    appendFileSync(at("holes"), "end");
    writeFileSync(Buffer.concat([Buffer.from(at("x")), Buffer.from([0xff, 0xfe])]), "name of no UTF-8");
    writeFileSync(at('quote"\\\n'), "odd");
    linkSync(at("a", "small"), at("z-link"));
    symlinkSync("../nowhere", at("dangling"));
    for (let file = 0; file < 300; file++) writeFileSync(at("a", `f${file}`), randomBytes(file * 31));
    chmodSync(at("a", "b", "large"), 0o4755);
    utimesSync(at("a", "small"), 1e9, 1_234_567_890.123);
    const result = await backUp(place);
    expect(result.warnings).to.deep.equal([]);
    expect(result.complete).to.be.true;
    await expectSame(place, result);
    const { sourceBytes, newBytes } = result.totals;
    expect(newBytes).to.be.lessThan(sourceBytes - 40 * MiB); // zeros cost next to nothing
  });

  it("of what did not change writes nothing but its own small objects", async () => {
    writeFileSync(at("large"), randomBytes(3 * MiB));
    for (let file = 0; file < 100; file++) writeFileSync(at(`f${file}`), randomBytes(2000));
    const first = await backUp(place);
    const second = await backUp(place);
    expect(second.totals).to.include({ newBytes: 0, sourceBytes: first.totals.sourceBytes });
    expect(second.totals.storedBytes).to.be.lessThan(10_000);
    await expectSame(place, second);
  });

  it("finds content again without its cache, from the writer's index", async () => {
    writeFileSync(at("large"), randomBytes(20 * MiB));
    for (let file = 0; file < 200; file++) writeFileSync(at(`f${file}`), randomBytes(30_000));
    await backUp(place);
    place.cachePath += ".new";
    const second = await backUp(place);
    expect(second.totals.newBytes).to.equal(0);
    await expectSame(place, second);
  });

  it("stores the same content once, under whatever names and times", async () => {
    const large = randomBytes(6 * MiB);
    const small = randomBytes(40_000);
    writeFileSync(at("one"), large);
    writeFileSync(at("two"), large);
    for (let copy = 0; copy < 50; copy++) writeFileSync(at(`s${copy}`), small);
    const first = await backUp(place);
    expect(first.totals.newBytes).to.be.lessThan(6.2 * MiB);
    utimesSync(at("one"), 1, 1);
    for (let copy = 0; copy < 50; copy++) utimesSync(at(`s${copy}`), 1, 1);
    writeFileSync(at("s-new"), small);
    const second = await backUp(place);
    // Lines with other times are new, content is not.
    expect(second.totals.newBytes).to.be.lessThan(20_000);
    await expectSame(place, second);
  });

  it("writes little when little was inserted at the front of a large file", async () => {
    const content = randomBytes(24 * MiB);
    writeFileSync(at("large"), content);
    await backUp(place);
    writeFileSync(at("large"), Buffer.concat([Buffer.from("inserted"), content]));
    const second = await backUp(place);
    expect(second.totals.newBytes).to.be.lessThan(5 * MiB);
    await expectSame(place, second);
  });

  it("cuts a very large file into stretches that several workers read", async () => {
    const block = randomBytes(MiB);
    writeFileSync(at("huge"), "");
    for (let part = 0; part < 150; part++) {
      block.writeUInt32LE(part);
      appendFileSync(at("huge"), block);
    }
    await expectSame(place, await backUp(place));
  }).timeout(60_000);

  it("tells how much is read while a large file is, and in the end all, holes and what is unchanged too", async () => {
    const size = 300 * MiB;
    writeFileSync(at("large"), randomBytes(96 * MiB));
    truncateSync(at("large"), size);
    const midway = Promise.withResolvers<undefined>();
    let last: SnapshotProgress | null = null;
    const onProgress = (progress: SnapshotProgress): void => {
      last = progress;
      const { phase, doneBytes, doneFiles } = progress;
      if (phase === "reading" && doneBytes > 0 && doneBytes < size && doneFiles === 0) midway.resolve(undefined);
    };
    // The store takes nothing before: the reading waits for it, in the middle of the file.
    const store = beforeEachPut(place.store, () => midway.promise);
    const all = { phase: "done", doneBytes: size, totalBytes: null, doneFiles: 1 };
    await backUp(place, { store, onProgress, workers: 1 });
    expect(last).to.deep.equal(all);
    await backUp(place, { onProgress });
    expect(last).to.deep.equal(all);
  });

  it("carries a file of more extents than a line takes", async () => {
    // Alternating zeros and noise: an extent each. 4,097 would need 5 GiB, so the lines are tested by themselves.
    const noise = randomBytes(600_000);
    writeFileSync(at("striped"), "");
    for (let stripe = 0; stripe < 12; stripe++) {
      noise.writeUInt32LE(stripe);
      appendFileSync(at("striped"), noise);
      appendFileSync(at("striped"), Buffer.alloc(MiB));
    }
    await expectSame(place, await backUp(place));
  });

  it("finds any entry by halving a manifest of several chunks", async () => {
    // Lines of more than 900 bytes, together more than a chunk may have.
    const files = 5000;
    const folder = join("f".repeat(250), "g".repeat(250));
    mkdirSync(at(folder), { recursive: true });
    for (let file = 0; file < files; file++) writeFileSync(at(join(folder, randomBytes(127).toString("hex"))), "");
    const snapshot = await openBack(place, await backUp(place));
    expect(snapshot.root.extents.length).to.be.greaterThan(1);
    const paths = (await Array.fromAsync(snapshot.entries())).map(({ path }) => path ?? "");
    for (const wanted of [0, 1, files / 2, files - 1, files].map((number) => paths[number] ?? "")) {
      let passed = 0;
      for await (const { path } of snapshot.entriesFrom(sortKeyOf({ path: wanted }))) {
        if (path === wanted) break;
        expect((path ?? "") < wanted, path).to.be.true;
        passed++;
      }
      // Not the lines of the chunks before.
      expect(passed).to.be.lessThan(files);
    }
    snapshot.close();
  });

  it("opens at once at one file in the middle", async () => {
    for (let file = 0; file < 50; file++) writeFileSync(at(`f${file}`), `content ${file}`);
    const snapshot = await openBack(place, await backUp(place));
    for await (const entry of snapshot.entries()) {
      if (entry.path !== "f31") continue;
      expect(Buffer.concat(await Array.fromAsync(snapshot.content(entry))).toString()).to.equal("content 31");
      break;
    }
    snapshot.close();
  });
});
