import { execFileSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createReadStream } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { walkVolume } from "../../../agent/source/volume.ts";
import { writeTree } from "../../../shared/tree/tree-writer.ts";
import type { ManifestEntry } from "../../../shared/repository/manifest.ts";
import type { ContentPiece } from "../../../shared/repository/open/snapshot-reader.ts";

const patient = new AbortController().signal;
const ignore = (): void => undefined;

const root: ManifestEntry = { path: "", type: "directory", mode: 0o755, uid: 0, gid: 0, mtimeNs: "0" };
const file = (path: string, sizeBytes = 0): ManifestEntry => ({ ...root, path, type: "file", mode: 0o644, sizeBytes });

async function* listed(entries: readonly ManifestEntry[]): AsyncGenerator<ManifestEntry> {
  for (const entry of entries) yield await Promise.resolve(entry);
}

async function* nothing(): AsyncGenerator<ContentPiece> {
  // No content.
}

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => null,
    (error: unknown) => error,
  );
}

describe("writing the tree of a manifest", () => {
  let folder: string;
  let target: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-tree-"));
    target = join(folder, "target");
    mkdirSync(target);
  });
  afterEach(() => {
    try {
      execFileSync("umount", [target], { stdio: "ignore" });
    } catch {
      // Most tests mount nothing.
    }
    rmSync(folder, { recursive: true, force: true });
  });
  const write = (
    entries: readonly ManifestEntry[],
    pieces: (entry: ManifestEntry) => AsyncIterable<ContentPiece> = nothing,
  ) => writeTree(target, { entries: listed(entries), pieces }, patient, ignore);

  it("restores what the walk found: content, owners, modes, times, links, fifos, devices, odd names", async () => {
    const source = join(folder, "source");
    execFileSync("bash", [
      "-c",
      `set -e; mkdir -p "$1/a/deep" "$1/sticky" "$1/empty"; cd "$1"
       printf hello > a/file; head -c 3000000 /dev/urandom > a/deep/large; ln a/file sticky/second; ln -s ../a/file sticky/link
       ln -s /etc/passwd absolute; mkfifo pipe; mknod null c 1 3; mknod disk b 7 99; printf x > $'odd\\xff name'
       ln -s $'to\\xfe' oddlink; chown -R 1000:1001 a; chown -h 5:6 absolute; chmod 4755 a/file; chmod 1777 sticky; chmod 2750 a/deep
       chmod 0 empty; touch -d '2001-02-03 04:05:06.123456' a/file pipe; touch -h -d '1999-01-01' absolute
       touch -d '2020-02-02' a a/deep sticky; chmod 750 .; touch -d '2019-09-09' .`,
      "-",
      source,
    ]);
    const walk = walkVolume(source, [], patient);
    const paths = new Map<ManifestEntry, Buffer>();
    const entries: ManifestEntry[] = [];
    for await (const { metadata, file: found } of walk.entries) {
      const entry: ManifestEntry = found === null ? metadata : { ...metadata, sizeBytes: found.sizeBytes };
      if (found !== null) paths.set(entry, found.path);
      entries.push(entry);
    }
    const pieces = async function* (entry: ManifestEntry): AsyncGenerator<ContentPiece> {
      const stream = createReadStream(paths.get(entry) ?? Buffer.alloc(0), { highWaterMark: 65537 });
      for await (const bytes of stream as AsyncIterable<Buffer>) yield { bytes };
    };
    const tree = await writeTree(target, { entries: listed(entries), pieces }, patient, ignore);

    expect(tree).to.deep.include({ files: 4, directories: 4, others: 6, restoredBytes: 3_000_006, warnings: [] });
    const describeTree = (at: string): string =>
      execFileSync("bash", [
        "-c",
        `cd "$1"; find . -printf '%P|%y|%m|%U:%G|%.19T+|%l|%n\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum
         stat -c '%n %t %T' null disk; [ a/file -ef sticky/second ] && echo linked`,
        "-",
        at,
      ]).toString("latin1");
    expect(describeTree(target)).to.equal(describeTree(source));
    expect(lstatSync(join(target, "a/file"), { bigint: true }).mtimeNs / 1000n).to.equal(
      lstatSync(join(source, "a/file"), { bigint: true }).mtimeNs / 1000n,
    );
  });

  it("leaves holes where the snapshot has them, and real zeros where it has none", async () => {
    const holeBytes = 8 * 1024 * 1024;
    const zeros = Buffer.alloc(holeBytes);
    const pieces = async function* ({ path }: ManifestEntry): AsyncGenerator<ContentPiece> {
      yield { bytes: Buffer.from("abc") };
      yield path === "sparse" ? { zeroBytes: holeBytes } : { bytes: zeros };
      yield { bytes: Buffer.from("def") };
      yield await Promise.resolve(path === "sparse" ? { zeroBytes: holeBytes } : { bytes: zeros });
    };
    await write([root, file("full", 2 * holeBytes + 6), file("sparse", 2 * holeBytes + 6)], pieces);
    const whole = Buffer.concat([Buffer.from("abc"), zeros, Buffer.from("def"), zeros]);
    const allocated = (name: string): number => {
      expect(readFileSync(join(target, name)).equals(whole)).to.be.true;
      return lstatSync(join(target, name)).blocks * 512;
    };
    expect(allocated("sparse")).to.be.lessThan(64 * 1024);
    expect(allocated("full")).to.be.greaterThan(2 * holeBytes);
  });

  const escapes: [title: string, entries: ManifestEntry[]][] = [
    ["a path that leads up", [root, file("../escape")]],
    ["a path that leads up within", [root, { ...root, path: "a" }, { ...root, path: "a/.." }, file("a/../escape")]],
    ["an absolute path", [root, file("/escape")]],
    ["an empty segment", [root, { ...root, path: "a" }, file("a//escape")]],
    ["a NUL in a name", [root, file("a\0b")]],
    ["a parent that is not there", [root, file("missing/escape")]],
    [
      "a parent that is a symlink",
      [root, { ...root, path: "out", type: "symlink", linkTarget: "/tmp" }, file("out/escape")],
    ],
    ["a parent that is no longer open", [root, { ...root, path: "a" }, { ...root, path: "b" }, file("a/late")]],
    ["a hard link to what lies outside", [root, { ...file("x"), hardLinkTo: "../secret" }]],
    ["a hard link to a folder", [root, { ...root, path: "a" }, { ...file("x"), hardLinkTo: "a" }]],
    ["a second root", [root, root]],
    ["no root", [file("x")]],
    ["nothing at all", []],
  ];
  for (const [title, entries] of escapes) {
    it(`refuses ${title}`, async () => {
      writeFileSync(join(folder, "secret"), "s");
      const error = await failureOf(write(entries));
      expect(error).to.include({ code: "SKEP_MANIFEST_INVALID", permanent: true });
      expect(existsSync(join(folder, "escape"))).to.be.false;
      expect(existsSync("/tmp/escape")).to.be.false;
    });
  }

  it("replaces nothing that is there: a name that comes twice fails", async () => {
    const error = await failureOf(write([root, file("twice"), file("twice")]));
    expect(error).to.include({ code: "EEXIST" });
    const link: ManifestEntry = { ...root, path: "link", type: "symlink", linkTarget: join(folder, "secret") };
    writeFileSync(join(folder, "secret"), "kept");
    rmSync(target, { recursive: true });
    mkdirSync(target);
    await failureOf(write([root, link, file("link", 3)], nothing));
    expect(readFileSync(join(folder, "secret"), "utf8")).to.equal("kept");
    expect(readlinkSync(join(target, "link"))).to.equal(join(folder, "secret"));
  });

  it("refuses content of another length than the manifest names", async () => {
    expect(await failureOf(write([root, file("x", 5)]))).to.include({ code: "SKEP_MANIFEST_INVALID" });
  });

  it("says that the disk is full, whatever was being written", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", target]);
    const piece = Buffer.alloc(256 * 1024, 1);
    const content = async function* (): AsyncGenerator<ContentPiece> {
      for (let count = 0; count < 8; count++) yield await Promise.resolve({ bytes: piece });
    };
    const error = await failureOf(write([root, file("large", 8 * piece.length)], content));
    expect(error).to.include({ code: "SKEP_RESTORE_NO_SPACE", permanent: true });
    expect(error).to.have.property("hint").that.contains("not touched");
  });

  it("stops where it is when it is aborted", async () => {
    const controller = new AbortController();
    const entries = async function* (): AsyncGenerator<ManifestEntry> {
      yield root;
      yield file("a");
      controller.abort(new Error("enough"));
      yield await Promise.resolve(file("b"));
    };
    const error = await failureOf(
      writeTree(target, { entries: entries(), pieces: nothing }, controller.signal, ignore),
    );
    expect(error).to.include({ message: "enough" });
    expect(existsSync(join(target, "b"))).to.be.false;
  });
});
