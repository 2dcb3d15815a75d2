import { expect } from "chai";
import { execSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { zstdCompressSync } from "node:zlib";
import { pack } from "tar-stream";
import { generateAgeIdentity, type AgeIdentity } from "../../../shared/repository/age.ts";
import { writeArchive, type ArchiveFile } from "../../../shared/repository/archive-writer.ts";
import { readArchive, unpackArchive } from "../../../shared/repository/open/archive-reader.ts";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import { expectCode } from "./expect-code.ts";
import { makeScratch } from "./scratch.ts";

const runId = "20261121-030000-abcdef";

async function* pieces(bytes: Uint8Array, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    await Promise.resolve();
    yield bytes.subarray(at, at + pieceBytes);
  }
}

function archiveFile(path: string, content: ArchiveFile["content"], sizeBytes: number): ArchiveFile {
  return { path, mode: 0o640, mtimeMs: Date.UTC(2026, 0, 1), sizeBytes, content };
}

describe("a swarm archive", () => {
  let scratch: ReturnType<typeof makeScratch>;
  let store: Store;
  let epoch: AgeIdentity;

  beforeEach(async () => {
    scratch = makeScratch();
    store = openDirectory(scratch.path);
    epoch = await generateAgeIdentity();
  });
  afterEach(async () => {
    await store.close();
    scratch.remove();
  });

  const write = (
    files: ArchiveFile[],
    limits: { signal?: AbortSignal; pieceBytes?: number; maxPieces?: number } = {},
  ): ReturnType<typeof writeArchive> =>
    writeArchive({ store, runId, epoch: { number: 1, recipient: epoch.recipient }, files, ...limits });

  const longPath = `${"d/".repeat(120)}ünïcode-${"x".repeat(120)}`;

  it("comes back file by file, and opens with age, zstd and tar alone", async () => {
    const big = randomBytes(300_000);
    const { archive, sourceBytes } = await write([
      archiveFile("raft/wal-1", pieces(big, 7001), big.length),
      archiveFile("empty", new Uint8Array(0), 0),
      archiveFile(longPath, Buffer.from("hello"), 5),
    ]);
    expect(sourceBytes).to.equal(300_005);
    const read = new Map<string, Buffer>();
    for await (const file of readArchive({ store, archive, identity: epoch.identity })) {
      expect([file.mode, file.mtimeMs]).to.deep.equal([0o640, Date.UTC(2026, 0, 1)]);
      read.set(file.path, Buffer.concat(await Array.fromAsync(file.content)));
    }
    expect([...read.keys()]).to.deep.equal(["raft/wal-1", "empty", longPath]);
    expect(read.get("raft/wal-1")?.equals(big)).to.be.true;
    expect(read.get(longPath)?.toString()).to.equal("hello");

    const identityPath = join(scratch.path, "epoch.txt");
    const out = join(scratch.path, "out");
    writeFileSync(identityPath, `${epoch.identity}\n`, { mode: 0o600 });
    execSync(`mkdir ${out} && age -d -i ${identityPath} ${archive[0]?.key ?? ""} | zstd -d | tar x -C ${out}`, {
      cwd: scratch.path,
    });
    expect(readFileSync(join(out, "raft/wal-1")).equals(big)).to.be.true;
    expect(readFileSync(join(out, longPath), "utf8")).to.equal("hello");
  });

  it("may be left in the middle", async () => {
    const { archive } = await write([
      archiveFile("a", Buffer.alloc(200_000, 1), 200_000),
      archiveFile("b", Buffer.from("b"), 1),
    ]);
    const paths: string[] = [];
    for await (const file of readArchive({ store, archive, identity: epoch.identity })) paths.push(file.path);
    expect(paths).to.deep.equal(["a", "b"]);
    for await (const file of readArchive({ store, archive, identity: epoch.identity })) {
      expect(file.path).to.equal("a");
      break;
    }
  });

  it("refuses contents of another length, paths that climb, and more than a store takes", async () => {
    await expectCode("SKEP_ARCHIVE_CONTENT_LENGTH", () => write([archiveFile("a", Buffer.from("abc"), 4)]));
    await expectCode("SKEP_ARCHIVE_CONTENT_LENGTH", () => write([archiveFile("a", Buffer.from("abc"), 2)]));
    let thrown: unknown;
    await write([archiveFile("../a", Buffer.from("abc"), 3)]).catch((error: unknown) => (thrown = error));
    expect(thrown).to.be.instanceOf(TypeError);
    const noise = randomBytes(1000);
    const limits = { pieceBytes: 100, maxPieces: 10 };
    await expectCode("SKEP_ARCHIVE_TOO_LARGE", () => write([archiveFile("a", noise, noise.length)], limits));
  });

  it("is cut into pieces that cat puts together, and read only with all of them in their order", async () => {
    const big = randomBytes(300_000);
    for (const pieceBytes of [20_000, 65_552, 299_999, 400_000]) {
      const { archive } = await write([archiveFile("wal", pieces(big, 7001), big.length)], { pieceBytes });
      expect(archive.length).to.equal(
        Math.ceil(archive.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) / pieceBytes),
      );
      const read = async (of: typeof archive): Promise<Buffer> => {
        const contents = [];
        for await (const { content } of readArchive({ store, archive: of, identity: epoch.identity })) {
          contents.push(...(await Array.fromAsync(content)));
        }
        return Buffer.concat(contents);
      };
      expect((await read(archive)).equals(big)).to.be.true;
      const identityPath = join(scratch.path, "epoch.txt");
      writeFileSync(identityPath, `${epoch.identity}\n`, { mode: 0o600 });
      const opened = execSync(`cat ${archive[0]?.key ?? ""}* | age -d -i ${identityPath} | zstd -d | tar x -O`, {
        cwd: scratch.path,
        maxBuffer: 1 << 20,
      });
      expect(opened.equals(big)).to.be.true;
      if (archive.length < 2) continue;
      await expectCode("SKEP_AGE_INVALID", () => read(archive.slice(0, -1)));
      await expectCode("SKEP_AGE_INVALID", () => read(archive.slice(1)));
      await expectCode("SKEP_AGE_INVALID", () => read(archive.toReversed()));
      const [first] = archive;
      if (first !== undefined) await store.delete([first.key]);
      await expectCode("SKEP_OBJECT_MISSING", () => read(archive));
    }
  });

  it("throws what its source throws, and the reason of an abort", async () => {
    const failure = new Error("disk on fire");
    async function* failing(): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      yield Buffer.alloc(10);
      throw failure;
    }
    let thrown: unknown;
    await write([archiveFile("a", failing(), 20)]).catch((error: unknown) => (thrown = error));
    expect(thrown).to.equal(failure);

    const controller = new AbortController();
    async function* aborting(): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      yield Buffer.alloc(10);
      controller.abort(new Error("enough"));
      yield Buffer.alloc(10);
    }
    await write([archiveFile("a", aborting(), 20), archiveFile("b", aborting(), 20)], {
      signal: controller.signal,
    }).catch((error: unknown) => (thrown = error));
    expect((thrown as Error).message).to.equal("enough");
  });

  it("is refused where its tar ends within a file, or within a file's header", async () => {
    const tar = pack();
    tar.entry({ name: "wal" }, Buffer.alloc(3000, 1));
    tar.finalize();
    const whole = await buffer(tar);
    for (const end of [100, 512, 513, 2000, 3511]) {
      const compressed = Readable.from([zstdCompressSync(whole.subarray(0, end))]);
      const read = async (): Promise<void> => {
        for await (const { content } of unpackArchive(compressed, "an archive")) await Array.fromAsync(content);
      };
      const { message } = await expectCode("SKEP_ARCHIVE_INVALID", read);
      expect(message, `${end} bytes`).to.equal("an archive: it does not unpack");
    }
  });

  it("refuses one that is missing, damaged, cut short or for another identity", async () => {
    const { archive } = await write([archiveFile("a", Buffer.from("abc"), 3)]);
    const read = (changed: object, identity = epoch.identity): Promise<unknown> =>
      Array.fromAsync(readArchive({ store, archive: archive.map((piece) => ({ ...piece, ...changed })), identity }));
    const other = await generateAgeIdentity();
    await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () => read({}, other.identity));
    await expectCode("SKEP_OBJECT_MISSING", () => read({ key: `${archive[0]?.key ?? ""}x` }));
    await expectCode("SKEP_OBJECT_DAMAGED", () => read({ sizeBytes: 3 }));
    await expectCode("SKEP_OBJECT_DAMAGED", () => read({ digest: "0".repeat(64) }));
  });
});
