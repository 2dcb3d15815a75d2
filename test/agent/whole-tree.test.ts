import { createHash, randomBytes } from "node:crypto";
import { closeSync, linkSync, mkdirSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { chmodSync, ftruncateSync, lchownSync, lstatSync, writeSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { walkTree, type WalkFindings } from "../../agent/source/tree-walk.ts";
import { walkVolume } from "../../agent/source/volume.ts";
import { writeTree, type WrittenTree } from "../../shared/tree/tree-writer.ts";
import { withReach } from "../../shared/deep-path.ts";
import { pathBytes } from "../../shared/repository/path-order.ts";
import type { SnapshotResult } from "../../shared/repository/snapshot.ts";
import { findData, findHole, makeNode, setTimes, writeXattr } from "../../shared/system-calls.ts";
import { backUp, makePlace, openBack, type Place } from "../shared/repository/snapshots.ts";

const patient = new AbortController().signal;
const KiB = 1024;

/** Everything that a restore must bring back, of each entry. */
function describeTree(root: string): unknown[] {
  const findings: WalkFindings = { warnings: [], warningsLeftOut: 0, complete: true };
  const entries = [...walkTree(root, () => false, findings)];
  expect(findings).to.deep.equal({ warnings: [], warningsLeftOut: 0, complete: true });
  return entries.map(({ metadata, file }) => {
    if (file === null) return metadata;
    const path = Buffer.concat([Buffer.from(`${root}/`), pathBytes(metadata.path, metadata.pathBase64)]);
    return withReach(path, (near) => {
      const digest = createHash("sha256").update(readFileSync(near)).digest("hex");
      return { ...metadata, sizeBytes: file.sizeBytes, digest, data: dataOf(near, file.sizeBytes) };
    });
  });
}

/** Where the file has data, [start, end). */
function dataOf(path: Buffer, sizeBytes: number): [number, number][] {
  const descriptor = openSync(path, "r");
  try {
    const data: [number, number][] = [];
    for (let at = findData(descriptor, 0); at !== null && at < sizeBytes;) {
      const end = findHole(descriptor, at) ?? sizeBytes;
      data.push([at, end]);
      at = findData(descriptor, end);
    }
    return data;
  } finally {
    closeSync(descriptor);
  }
}

async function restore(place: Place, result: SnapshotResult, target: string): Promise<WrittenTree> {
  const snapshot = await openBack(place, result);
  try {
    const source = { entries: snapshot.entries(), pieces: snapshot.writablePieces.bind(snapshot) };
    return await writeTree(target, source, patient, () => undefined);
  } finally {
    snapshot.close();
  }
}

const xattrs = fc.dictionary(
  fc.constantFrom("user.a", "user.ä", "trusted.b", "security.capability", "system.posix_acl_access"),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  { maxKeys: 3, noNullPrototype: true },
);
// user::rw-, user:1000:r--, group::r--, mask::r--, other::---: version 2, then tag, permissions, id (linux/posix_acl_xattr.h)
const acl = Buffer.from("02000000" + "01000600ffffffff" + "02000400e8030000" + "04000400ffffffff" + "10000400ffffffff" + "20000000ffffffff", "hex"); // prettier-ignore
const capability = Buffer.from("0100000200040000000000000000000000000000", "hex");

const nodeShape = fc.record({
  kind: fc.constantFrom(
    "file",
    "file",
    "sparse",
    "folder",
    "folder",
    "link",
    "fifo",
    "character",
    "block",
    "hard link",
  ),
  name: fc.oneof(
    fc.constantFrom(Buffer.from("a"), Buffer.from("ä"), Buffer.from([0xff, 0x61]), Buffer.from(" \n\\")),
    fc.stringMatching(/^[a-f]{1,4}$/).map((text) => Buffer.from(text)),
  ),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  owner: fc.tuple(fc.constantFrom(0, 1000, 4_000_000_000), fc.constantFrom(0, 1001)),
  ns: fc.bigInt({ min: -(10n ** 18n), max: 4n * 10n ** 18n }),
  xattrs,
  holes: fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 16, max: 400 })), { maxLength: 6 }),
  sizeBytes: fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.constantFrom(524_287, 524_288, 2_000_000)),
  into: fc.nat(),
});
type Shape = typeof nodeShape extends fc.Arbitrary<infer T> ? T : never;

function makeTree(root: string, shapes: readonly Shape[]): void {
  const folders = [Buffer.from(root)];
  const files: Buffer[] = [];
  const finished: { path: Buffer; shape: Shape }[] = [];
  for (const shape of shapes) {
    const folder = folders[shape.into % folders.length] ?? Buffer.from(root);
    const path = Buffer.concat([folder, Buffer.from("/"), shape.name]);
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) continue;
    const linked = files[shape.into % Math.max(1, files.length)];
    if (shape.kind === "hard link") {
      if (linked !== undefined) linkSync(linked, path);
      continue;
    }
    if (shape.kind === "folder") {
      mkdirSync(path);
      folders.push(path);
    } else if (shape.kind === "link") symlinkSync(Buffer.concat([Buffer.from("../"), shape.name]), path);
    else if (shape.kind === "fifo") makeNode(path, 0o10600, [0, 0]);
    else if (shape.kind === "character") makeNode(path, 0o20600, [4095, 1_048_575]);
    else if (shape.kind === "block") makeNode(path, 0o60600, [7, 300]);
    else {
      files.push(path);
      if (shape.kind === "file") writeFileSync(path, randomBytes(shape.sizeBytes));
      else writeSparse(path, shape.holes);
    }
    finished.push({ path, shape });
  }
  for (const { path, shape } of finished.reverse()) {
    lchownSync(path, ...shape.owner);
    const isPlain = shape.kind === "file" || shape.kind === "sparse" || shape.kind === "folder";
    for (const [name, value] of Object.entries(shape.xattrs)) {
      if (!isPlain && !name.startsWith("trusted.")) continue;
      if (name === "security.capability" && shape.kind === "folder") continue;
      const content = name === "security.capability" ? capability : name === "system.posix_acl_access" ? acl : value;
      writeXattr(path, Buffer.from(name), content);
    }
    if (shape.kind === "folder" && shape.mode % 2 === 0) writeXattr(path, Buffer.from("system.posix_acl_default"), acl);
    if (shape.kind !== "link") chmodSync(path, shape.mode);
    setTimes(path, shape.ns);
  }
}

/** Alternately data and holes, in steps of 16 KiB. */
function writeSparse(path: Buffer, holes: readonly [dataSteps: number, holeSteps: number][]): void {
  const descriptor = openSync(path, "w");
  let at = 0;
  for (const [dataSteps, holeSteps] of holes) {
    writeSync(descriptor, randomBytes(dataSteps * 16 * KiB), 0, dataSteps * 16 * KiB, at);
    // A shorter hole comes back as zero bytes.
    at += (dataSteps + holeSteps) * 16 * KiB;
  }
  ftruncateSync(descriptor, at);
  closeSync(descriptor);
}

describe("a volume's tree", () => {
  let place: Place;
  let target: string;
  beforeEach(async () => {
    place = await makePlace();
    target = join(place.path, "target");
    mkdirSync(target);
  });
  afterEach(async () => {
    execFileSync("rm", ["-rf", place.source, target]);
    await place.remove();
  });

  const roundTrip = async (): Promise<WrittenTree> => {
    const walk = walkVolume(place.source, [], patient);
    const result = await backUp(place, { entries: walk.entries });
    expect([result.warnings, walk.findings.warnings]).to.deep.equal([[], []]);
    return await restore(place, result, target);
  };

  it("comes back whole: restore(backup(tree)) = tree, with all metadata and holes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(nodeShape, { maxLength: 25 }), async (shapes) => {
        makeTree(place.source, shapes);
        const written = await roundTrip();
        expect(written.warnings).to.deep.equal([]);
        expect(describeTree(target)).to.deep.equal(describeTree(place.source));
        for (const folder of [place.source, target]) {
          rmSync(folder, { recursive: true });
          mkdirSync(folder);
        }
      }),
      { numRuns: 8 },
    );
  }).timeout(120_000);

  it("of more content than is held at once comes back, written by the threads that opened it", async () => {
    const first = randomBytes(24 * KiB * KiB);
    writeFileSync(join(place.source, "first"), first);
    writeFileSync(join(place.source, "second"), Buffer.concat([randomBytes(20 * KiB * KiB), first.subarray(12_345)]));
    writeFileSync(join(place.source, "third"), first);
    const result = await backUp(place);
    const target = join(place.path, "out");
    mkdirSync(target);
    await restore(place, result, target);
    for (const name of ["first", "second", "third"]) {
      expect(readFileSync(join(target, name)).equals(readFileSync(join(place.source, name))), name).to.equal(true);
    }
  });

  it("keeps the holes of a small file", async () => {
    writeSparse(Buffer.from(join(place.source, "small")), [[3, 24]]);
    await roundTrip();
    expect(describeTree(target)).to.deep.equal(describeTree(place.source));
  });

  it("gives a small file no chunk of its own for a hole that would not come back", async () => {
    for (const name of ["first", "second"]) {
      const descriptor = openSync(join(place.source, name), "w");
      ftruncateSync(descriptor, 100 * KiB);
      for (const at of [0, 60]) writeSync(descriptor, randomBytes(40 * KiB), 0, 40 * KiB, at * KiB);
      closeSync(descriptor);
    }
    const snapshot = await openBack(place, await backUp(place));
    try {
      const entries = await Array.fromAsync(snapshot.entries());
      const names = entries.flatMap(({ extents = [] }) => extents.map(([name]) => name));
      expect([names.length, new Set(names).size]).to.deep.equal([2, 1]);
    } finally {
      snapshot.close();
    }
  });

  it("tells the full disk that a thread met by the error's name", async () => {
    writeFileSync(join(place.source, "large"), randomBytes(12 * KiB * KiB));
    const snapshot = await openBack(place, await backUp(place));
    const full = openSync("/dev/full", "w");
    const met: unknown[] = [];
    try {
      for await (const entry of snapshot.entries()) {
        for await (const piece of snapshot.writablePieces(entry)) {
          if ("writeTo" in piece) await piece.writeTo(full, 0).catch((error: unknown) => met.push(error));
        }
      }
    } finally {
      closeSync(full);
      snapshot.close();
    }
    expect(met).to.have.length.greaterThan(4);
    expect(met.map((error) => (error as NodeJS.ErrnoException).code)).to.deep.equal(met.map(() => "ENOSPC"));
  });

  it("comes back from paths beyond what the kernel takes at once", async () => {
    // 20 folders of 250 bytes: 5,000 bytes, with a file, another name of it, and an empty folder at the end.
    execFileSync("sh", [
      "-ec",
      'cd "$1"; name=$(printf "%0250d" 7); for i in $(seq 20); do mkdir $name; cd -P $name 2>/dev/null || cd $name; done; printf deep > file; ln file other; mkdir empty; head -c 700000 /dev/urandom > large',
      "-",
      place.source,
    ]);
    await roundTrip();
    const found = describeTree(target);
    expect(found).to.deep.equal(describeTree(place.source));
    expect(found).to.have.length(25);
  });

  it("of a terabyte of hole costs nothing and is a hole again", async () => {
    const descriptor = openSync(join(place.source, "huge"), "w");
    ftruncateSync(descriptor, 2 ** 40);
    writeSync(descriptor, Buffer.from("in the middle"), 0, 13, 2 ** 39);
    closeSync(descriptor);
    const before = process.memoryUsage.rss();
    await roundTrip();
    const { size, blocks } = lstatSync(join(target, "huge"));
    expect(size).to.equal(2 ** 40);
    expect(blocks * 512).to.be.lessThan(64 * KiB);
    expect(dataOf(Buffer.from(join(target, "huge")), 2 ** 40)).to.deep.equal([[2 ** 39, 2 ** 39 + 4 * KiB]]);
    expect(process.memoryUsage.rss() - before).to.be.lessThan(200e6);
  }).timeout(60_000);
});
