import { execFileSync } from "node:child_process";
import { chmodSync, linkSync, lutimesSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { pathFilter } from "../../../agent/source/path-glob.ts";
import { deviceNumbers, walkTree, type WalkedEntry, type WalkFindings } from "../../../agent/source/tree-walk.ts";
import { writeXattr } from "../../../shared/system-calls.ts";

const nothing = pathFilter([]);

function walk(root: string, leaveOut = nothing): { entries: Generator<WalkedEntry>; findings: WalkFindings } {
  const findings: WalkFindings = { warnings: [], warningsLeftOut: 0, complete: true };
  return { entries: walkTree(root, leaveOut, findings), findings };
}

describe("the walk through a tree", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "skep-walk-"));
  });
  afterEach(() => {
    try {
      execFileSync("umount", [join(root, "mounted")], { stdio: "ignore" });
    } catch {
      // Most tests mount nothing.
    }
    rmSync(root, { recursive: true, force: true });
  });

  it("gives a folder before what is in it and siblings by the bytes of their names", () => {
    mkdirSync(join(root, "b"));
    writeFileSync(join(root, "b", "z"), "");
    writeFileSync(join(root, "b", "ä"), "");
    writeFileSync(join(root, "B"), "");
    writeFileSync(join(root, "b.txt"), "");
    writeFileSync(join(root, "\u{1f41d}"), "");
    writeFileSync(join(root, "\uffee"), "");
    const { entries } = walk(root);
    const paths = [...entries].map((entry) => entry.metadata.path);
    expect(paths).to.deep.equal(["", "B", "b", "b/z", "b/ä", "b.txt", "\uffee", "\u{1f41d}"]);
  });

  it("describes files, links, fifos, devices and their owners, modes and times", () => {
    writeFileSync(join(root, "file"), "twelve bytes");
    execFileSync("chown", ["1234:4321", join(root, "file")]);
    chmodSync(join(root, "file"), 0o4751);
    lutimesSync(join(root, "file"), 1, 1);
    symlinkSync("nowhere/at all", join(root, "link"));
    execFileSync("mkfifo", [join(root, "pipe")]);
    execFileSync("mknod", [join(root, "zero"), "c", "1", "5"]);
    const { entries, findings } = walk(root);
    const [, file, link, pipe, zero] = [...entries];
    expect(file?.metadata).to.deep.equal({
      path: "file",
      type: "file",
      mode: 0o4751,
      uid: 1234,
      gid: 4321,
      mtimeNs: "1000000000",
    });
    expect(file?.file?.sizeBytes).to.equal(12);
    expect(link?.metadata).to.include({ type: "symlink", linkTarget: "nowhere/at all" });
    expect(pipe?.metadata.type).to.equal("fifo");
    expect(zero?.metadata).to.deep.include({ type: "character-device", device: [1, 5] });
    expect(findings).to.deep.equal({ warnings: [], warningsLeftOut: 0, complete: true });
  });

  it("reads the content of a file with several names once and points the other names to the first", () => {
    writeFileSync(join(root, "a"), "once");
    mkdirSync(join(root, "d"));
    linkSync(join(root, "a"), join(root, "d", "b"));
    linkSync(join(root, "a"), join(root, "e"));
    const { entries } = walk(root);
    const files = [...entries].filter(({ metadata }) => metadata.type === "file");
    expect(files.map(({ metadata, file }) => [metadata.path, metadata.hardLinkTo, file === null])).to.deep.equal([
      ["a", undefined, false],
      ["d/b", "a", true],
      ["e", "a", true],
    ]);
  });

  it("keeps names that are no UTF-8", () => {
    const name = Buffer.from([0x66, 0xff, 0x66]);
    writeFileSync(Buffer.concat([Buffer.from(`${root}/`), name]), "x");
    const { entries } = walk(root);
    const [, odd] = [...entries];
    expect(odd?.metadata.path).to.equal(undefined);
    expect(odd?.metadata.pathBase64).to.equal(name.toString("base64"));
  });

  it("keeps extended attributes, ACLs and capabilities, also of folders, and names those whose name is no text", () => {
    const file = Buffer.from(join(root, "file"));
    writeFileSync(file, "");
    mkdirSync(join(root, "folder"));
    const capability = Buffer.from("0100000200040000000000000000000000000000", "hex"); // cap_net_bind_service+ep
    writeXattr(file, Buffer.from("user.empty"), Buffer.alloc(0));
    writeXattr(file, Buffer.from("security.capability"), capability);
    writeXattr(file, Buffer.from([...Buffer.from("user.odd"), 0xff]), Buffer.from("lost"));
    writeXattr(Buffer.from(join(root, "folder")), Buffer.from("trusted.of folder"), Buffer.alloc(3000, 7));
    const { entries, findings } = walk(root);
    expect([...entries].map(({ metadata }) => metadata.xattrs)).to.deep.equal([
      undefined,
      { "user.empty": "", "security.capability": capability.toString("base64") },
      { "trusted.of folder": Buffer.alloc(3000, 7).toString("base64") },
    ]);
    expect(findings.warnings.map(({ code }) => code)).to.deep.equal(["SKEP_SOURCE_XATTRS_LEFT_OUT"]);
    expect(findings.warnings[0]?.message).to.contain("user.odd");
  });

  it("leaves sockets out and names them", async () => {
    const server = createServer().listen(join(root, "db.sock"));
    await new Promise((resolve) => server.once("listening", resolve));
    try {
      const { entries, findings } = walk(root);
      expect([...entries]).to.have.length(1);
      expect(findings.warnings.map(({ code }) => code)).to.deep.equal(["SKEP_SOURCE_SOCKET_LEFT_OUT"]);
      expect(findings.warnings[0]?.message).to.contain("db.sock");
      expect(findings.complete).to.be.true;
    } finally {
      server.close();
    }
  });

  it("stays on its own filesystem and says what it left out", () => {
    mkdirSync(join(root, "mounted"));
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(root, "mounted")]);
    writeFileSync(join(root, "mounted", "foreign"), "");
    const { entries, findings } = walk(root);
    expect([...entries]).to.have.length(1);
    expect(findings.warnings.map(({ code }) => code)).to.deep.equal(["SKEP_SOURCE_OTHER_FILESYSTEM"]);
  });

  it("does not walk what the policy leaves out", () => {
    mkdirSync(join(root, "cache", "deep"), { recursive: true });
    writeFileSync(join(root, "cache", "deep", "x"), "");
    writeFileSync(join(root, "keep.tmp.txt"), "");
    writeFileSync(join(root, "gone.tmp"), "");
    const { entries } = walk(root, pathFilter(["/cache/", "*.tmp"]));
    expect([...entries].map(({ metadata }) => metadata.path)).to.deep.equal(["", "keep.tmp.txt"]);
  });

  it("never follows a folder that became a link while it was walked", () => {
    mkdirSync(join(root, "a"));
    writeFileSync(join(root, "a", "x"), "");
    mkdirSync(join(root, "b"));
    const { entries, findings } = walk(root);
    const seen: (string | undefined)[] = [];
    for (const { metadata } of entries) {
      seen.push(metadata.path);
      if (metadata.path === "a/x") {
        rmSync(join(root, "b"), { recursive: true });
        symlinkSync("/etc", join(root, "b"));
      }
    }
    // What it is now, and nothing that lies behind it.
    expect(seen).to.deep.equal(["", "a", "a/x", "b"]);
    expect(findings.warnings).to.deep.equal([]);
  });

  it("fails when the volume is removed while it is read", () => {
    mkdirSync(join(root, "a"));
    writeFileSync(join(root, "a", "x"), "");
    const { entries } = walk(root);
    let error: unknown = null;
    try {
      for (const { metadata } of entries) if (metadata.path === "a") rmSync(root, { recursive: true });
    } catch (thrown) {
      error = thrown;
    }
    expect(error).to.include({ code: "SKEP_SOURCE_VOLUME_GONE", permanent: true });
  });

  it("reads large device numbers as the kernel writes them", () => {
    expect(deviceNumbers(0x0103n)).to.deep.equal([1, 3]);
    // makedev(0x12345, 0x6789a) of glibc
    expect(deviceNumbers((0x12000n << 32n) | (0x345n << 8n) | (0x67800n << 12n) | 0x9an)).to.deep.equal([
      0x12345, 0x6789a,
    ]);
  });
});
