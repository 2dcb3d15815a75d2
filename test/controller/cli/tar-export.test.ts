import { expect } from "chai";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import fc from "fast-check";
import { exportDocument } from "../../../controller/cli/documents.ts";
import { exportTar } from "../../../controller/cli/tar-export.ts";
import { encodeTarMember, tarEnd, type TarMember, type TarType } from "../../../controller/cli/tar-member.ts";
import { readSubtree } from "../../../shared/repository/open/subtree.ts";
import type { Snapshot } from "../../../shared/repository/open/snapshot-reader.ts";
import type { SnapshotResult } from "../../../shared/repository/snapshot.ts";
import { backUp, makePlace, openBack, type Place } from "../../shared/repository/snapshots.ts";
import { walk } from "../../shared/repository/walk.ts";
import { commitRun, operatorOf } from "./committed-run.ts";

const runId = "20261121-030000-bbbbbb";

describe("a volume as tar", () => {
  let place: Place;
  let result: SnapshotResult;
  before(async () => {
    place = await makePlace();
    const at = (...names: string[]): string => join(place.source, ...names);
    mkdirSync(at("folder", "deep"), { recursive: true });
    mkdirSync(at("empty"), { mode: 0o1777 });
    writeFileSync(at("folder", "first"), "many names");
    linkSync(at("folder", "first"), at("folder", "deep", "second"));
    linkSync(at("folder", "first"), at("folder", "deep", "third"));
    writeFileSync(at("n".repeat(120)), randomBytes(3_000_000));
    writeFileSync(at("größe"), "");
    writeFileSync(Buffer.concat([Buffer.from(at("bytes-")), Buffer.from([0xff, 0x0a])]), "no text");
    chmodSync(at("folder", "first"), 0o6755);
    symlinkSync(`${"far/".repeat(40)}away`, at("link"));
    execFileSync("mkfifo", [at("pipe")]);
    const sparse = openSync(at("sparse"), "w");
    writeSync(sparse, randomBytes(1000), 0, 1000, 12_345_678);
    ftruncateSync(sparse, 40_000_000);
    closeSync(sparse);
    utimesSync(at("folder", "first"), 1e9 + 0.123456789, 1e9 + 0.5);
    utimesSync(at("empty"), -1000.25, -1000.25);
    result = await backUp(place);
    await commitRun(place, runId, { data: result });
  });
  after(() => place.remove());

  async function tarOf(snapshot: Snapshot, path = "", holes = true): Promise<Buffer> {
    const totals = { entries: 0, files: 0, tarBytes: 0 };
    const entries = readSubtree(snapshot, Buffer.from(path));
    return Buffer.concat(await Array.fromAsync(exportTar(snapshot, entries, { holes }, totals)));
  }

  function extract(tar: Buffer, name: string): string {
    const target = join(place.path, name);
    mkdirSync(target);
    execFileSync("tar", ["-x", "-p", "--same-owner", "-C", target], {
      input: tar,
      stdio: ["pipe", "ignore", "ignore"],
    });
    return target;
  }

  it("comes out of GNU tar as it was, with holes and without", async () => {
    const snapshot = await openBack(place, result);
    try {
      const before = (await Array.fromAsync(walk(place.source))).map(({ metadata }) => metadata);
      for (const holes of [true, false]) {
        const tar = await tarOf(snapshot, "", holes);
        expect(tar.length % 512).to.equal(0);
        expect(tar.length < 10_000_000, "holes take no room").to.equal(holes);
        const target = extract(tar, `whole-${String(holes)}`);
        expect((await Array.fromAsync(walk(target))).map(({ metadata }) => metadata)).to.deep.equal(before);
        for (const name of ["sparse", "n".repeat(120), "folder/deep/third"]) {
          expect(readFileSync(join(target, name)).equals(readFileSync(join(place.source, name))), name).to.be.true;
        }
        if (holes) expect(statSync(join(target, "sparse")).blocks).to.be.lessThan(20_000);
      }
    } finally {
      snapshot.close();
    }
  });

  it("of a folder has its files whole also where their first names lie elsewhere", async () => {
    const snapshot = await openBack(place, result);
    try {
      const target = extract(await tarOf(snapshot, "folder/deep"), "part");
      const [second, third] = ["second", "third"].map((name) => statSync(join(target, "folder", "deep", name)));
      expect(readFileSync(join(target, "folder", "deep", "third"), "utf8")).to.equal("many names");
      expect(second?.ino).to.equal(third?.ino);
      expect(statSync(join(target, "folder", "deep", "second")).mode & 0o7777).to.equal(0o6755);
    } finally {
      snapshot.close();
    }
  });

  it("goes to standard output or to a file, and refuses a path that is not there", async function () {
    this.timeout(60_000);
    const skep = operatorOf(place);
    const out = join(place.path, "out.tar");
    const { code, stdout, stderr } = await skep("export", "latest:host1/data:folder", "--out", out, "--json");
    expect(code, stderr).to.equal(0);
    const document = exportDocument.parse(JSON.parse(stdout));
    expect(document).to.include({ runId, entries: 5, files: 3 });
    expect(statSync(out).size).to.equal(document.tarBytes);
    const listed = execFileSync("tar", ["-t", "-f", out], { encoding: "utf8" }).trim().split("\n");
    expect(listed).to.include("folder/deep/second");
    const piped = await skep("export", "latest:host1/data:folder");
    expect(piped.stdout.length).to.equal(document.tarBytes);
    expect(piped.stderr).to.contain("5 entries exported");
    const gone = await skep("export", "latest:host1/data:nowhere");
    expect(gone.stderr).to.contain("SKEP_PATH_UNKNOWN");
    expect(gone.stdout).to.equal("");
    expect((await skep("export", "latest:host1/data", "--out", out)).stderr).to.contain("SKEP_CLI_FILE_UNWRITABLE");
  });
});

describe("members of a tar", () => {
  it("carry names, times, owners, sizes and attributes of any bytes, as Python's tarfile reads them", () => {
    const name = fc
      .array(fc.uint8Array({ minLength: 1, maxLength: 60 }), { minLength: 1, maxLength: 4 })
      .map((segments) =>
        Buffer.from(
          segments
            .map((bytes) => Buffer.from(bytes.map((b) => (b === 0 || b === 47 ? 65 : b))).toString("latin1"))
            .join("/"),
          "latin1",
        ),
      )
      .filter((bytes) => !/^\.|\/\.+(\/|$)/.test(bytes.toString("latin1")));
    const member = fc.record({
      name,
      type: fc.constantFrom<TarType>("symlink", "fifo", "directory", "character-device"),
      mode: fc.nat({ max: 0o7777 }),
      uid: fc.oneof(fc.nat({ max: 70000 }), fc.nat({ max: 0xffffffff })),
      gid: fc.oneof(fc.nat({ max: 70000 }), fc.nat({ max: 0xffffffff })),
      mtimeNs: fc
        .oneof(
          fc.bigInt({ min: -(10n ** 19n), max: 10n ** 19n }),
          fc.bigInt({ min: 0n, max: 2n ** 33n }).map((s) => s * 10n ** 9n),
        )
        .map(String),
      target: name,
      xattrs: fc.dictionary(
        fc.stringMatching(/^user\.[a-z]{1,20}$/),
        fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString("base64")),
      ),
    });
    const members = fc.sample(member, { numRuns: 300, seed: 1 });
    const made = members.map((fields): TarMember => ({
      ...fields,
      storedBytes: 0,
      sparseBytes: null,
      target: fields.type === "symlink" ? fields.target : null,
      device: fields.type === "character-device" ? [7, 9] : null,
    }));
    const script = `
import tarfile, sys, io, json, base64
raw = lambda text: base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()
for m in tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), errors="surrogateescape"):
    print(json.dumps([raw(m.name), m.mode, m.uid, m.gid, m.pax_headers.get("mtime", str(int(m.mtime))), raw(m.linkname),
        {k[13:]: raw(v) for k, v in m.pax_headers.items() if k.startswith("SCHILY.xattr.")}, m.devmajor, m.devminor]))`;
    const tar = Buffer.concat([...made.map(encodeTarMember), tarEnd]);
    const lines = execFileSync("python3", ["-c", script], { input: tar, encoding: "utf8", maxBuffer: 1 << 26 });
    const read = lines
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown[]);
    expect(read).to.have.length(made.length);
    for (const [index, one] of made.entries()) {
      const [gotName, mode, uid, gid, mtime, link, xattrs, major, minor] = read[index] ?? [];
      expect(Buffer.from(gotName as string, "base64").equals(one.name), `name ${index}`).to.be.true;
      expect([mode, uid, gid]).to.deep.equal([one.mode, one.uid, one.gid]);
      expect(nanosecondsOf(mtime as string)).to.equal(BigInt(one.mtimeNs));
      if (one.target !== null)
        expect(Buffer.from(link as string, "base64").equals(one.target), `target ${index}`).to.be.true;
      expect(xattrs).to.deep.equal(one.xattrs);
      if (one.device !== null) expect([major, minor]).to.deep.equal([7, 9]);
    }
  });
});

function nanosecondsOf(seconds: string): bigint {
  const [whole = "", fraction = "0"] = seconds.replace("-", "").split(".");
  const size = BigInt(whole) * 10n ** 9n + BigInt(fraction.padEnd(9, "0"));
  return seconds.startsWith("-") ? -size : size;
}
