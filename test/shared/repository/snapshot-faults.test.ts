import { expect } from "chai";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { SnapshotResult, SourceEntry } from "../../../shared/repository/snapshot.ts";
import { FaultyStore } from "../store/faulty.ts";
import { expectCode } from "./expect-code.ts";
import { backUp, makePlace, openCache, readBack, type Place } from "./snapshots.ts";
import { walk } from "./walk.ts";

const MiB = 1024 * 1024;

async function* replay(entries: readonly SourceEntry[]): AsyncGenerator<SourceEntry> {
  for (const entry of entries) {
    await Promise.resolve();
    yield entry;
  }
}

describe("a snapshot that meets trouble", () => {
  let place: Place;

  beforeEach(async () => {
    place = await makePlace();
  });
  afterEach(async () => {
    await place.remove();
  });

  const at = (...names: string[]): string => join(place.source, ...names);
  const codes = (result: SnapshotResult): string[] => result.warnings.map(({ code }) => code);

  /** Walks now, lets the world change, then backs up what was walked. */
  async function backUpAfter(change: () => void): Promise<SnapshotResult> {
    const entries = await Array.fromAsync(walk(place.source));
    change();
    return await backUp(place, { entries: replay(entries) });
  }

  it("leaves a sound store at whichever call the store fails, and the next attempt works", async () => {
    writeFileSync(at("kept"), randomBytes(100_000));
    const kept = await backUp(place);
    writeFileSync(at("large"), randomBytes(2 * MiB));
    const content = randomBytes(50_000);
    writeFileSync(at("small"), content);
    const cacheBefore = `${place.cachePath}.before`;
    cpSync(place.cachePath, cacheBefore);
    const counting = new FaultyStore(place.store, () => null);
    const storeBefore = `${place.storePath}.before`;
    cpSync(place.storePath, storeBefore, { recursive: true });
    await backUp(place, { store: counting });
    expect(counting.calls.length).to.be.greaterThan(5);
    for (const { number, method } of counting.calls) {
      // Of a call that only reads, an answer that is lost is no other fault than one that fails.
      const changes = method === "put" || method === "putIfAbsent" || method === "delete";
      for (const kind of changes ? (["fail", "loseAnswer"] as const) : (["fail"] as const)) {
        rmSync(place.storePath, { recursive: true });
        cpSync(storeBefore, place.storePath, { recursive: true });
        cpSync(cacheBefore, place.cachePath);
        const failure = new Error(`the store fails at call ${number}`);
        const faulty = new FaultyStore(place.store, (call) =>
          call.number === number ? { kind, error: failure } : null,
        );
        let thrown: unknown = null;
        await backUp(place, { store: faulty }).catch((error: unknown) => (thrown = error));
        expect(thrown, `${kind} at ${number}`).to.equal(failure);
        expect((await readBack(place, kept)).get("kept")?.sizeBytes).to.equal(100_000);
        const next = await backUp(place);
        expect((await readBack(place, next)).get("small")?.content?.equals(content)).to.be.true;
      }
    }
  }).timeout(120_000);

  it("stops at once when told to, with the reason", async () => {
    writeFileSync(at("large"), randomBytes(40 * MiB));
    for (const delayMs of [0, 30, 120, 300]) {
      const controller = new AbortController();
      const reason = new Error("enough");
      const timer = setTimeout(() => {
        controller.abort(reason);
      }, delayMs);
      let thrown: unknown = null;
      // Slow puts, so that it cannot be done before.
      const slow = new FaultyStore(place.store, ({ method }) =>
        method === "put" ? { kind: "delay", delayMs: 60_000 } : null,
      );
      const startedAt = performance.now();
      await backUp(place, { signal: controller.signal, store: slow }).catch((error: unknown) => (thrown = error));
      clearTimeout(timer);
      expect(thrown, `after ${delayMs} ms`).to.equal(reason);
      expect(performance.now() - startedAt).to.be.lessThan(delayMs + 15_000);
    }
  }).timeout(120_000);

  it("names files that vanished and their other names, and is complete all the same", async () => {
    writeFileSync(at("a"), "a");
    linkSync(at("a"), at("b"));
    writeFileSync(at("large"), randomBytes(MiB));
    writeFileSync(at("stays"), "stays");
    const result = await backUpAfter(() => {
      for (const name of ["a", "b", "large"]) unlinkSync(at(name));
    });
    expect(codes(result)).to.deep.equal(["SKEP_SOURCE_FILE_VANISHED", "SKEP_SOURCE_FILE_VANISHED"]);
    expect(result.complete).to.be.true;
    expect([...(await readBack(place, result)).keys()]).to.deep.equal(["", "stays"]);
  });

  it("follows no link and waits for no fifo that took a file's place", async () => {
    for (const name of ["fifo", "link", "other/file"]) {
      mkdirSync(at("other"), { recursive: true });
      writeFileSync(at(name), "x".repeat(5000));
    }
    const result = await backUpAfter(() => {
      unlinkSync(at("fifo"));
      execFileSync("mkfifo", [at("fifo")]);
      unlinkSync(at("link"));
      symlinkSync("/etc/hostname", at("link"));
      // A folder on the way that became a link out of the volume.
      renameSync(at("other"), join(place.path, "moved"));
      mkdirSync(join(place.path, "secret"));
      writeFileSync(join(place.path, "secret", "file"), "not of this volume");
      symlinkSync(join(place.path, "secret"), at("other"));
    });
    expect(codes(result)).to.deep.equal(new Array(3).fill("SKEP_SOURCE_FILE_VANISHED"));
    expect([...(await readBack(place, result)).keys()]).to.deep.equal(["", "other"]);
  });

  it("is partial where a file cannot be read", async () => {
    writeFileSync(at("fine"), "fine");
    const [root, fine] = await Array.fromAsync(walk(place.source));
    if (root === undefined || fine?.file == null) throw new Error("two entries expected");
    // Reading a process's memory at address 0 is EIO, also for root.
    const path = Buffer.from("/proc/self/mem");
    const bad: SourceEntry = {
      metadata: { ...fine.metadata, path: "unreadable" },
      file: { ...fine.file, path, inode: statSync(path, { bigint: true }).ino },
    };
    const result = await backUp(place, { entries: replay([root, fine, bad]) });
    expect(codes(result)).to.deep.equal(["SKEP_SOURCE_FILE_UNREADABLE"]);
    expect(result.warnings[0]?.message).to.match(/^unreadable: EIO/);
    expect(result.complete).to.be.false;
    expect([...(await readBack(place, result)).keys()]).to.deep.equal(["", "fine"]);
  });

  it("reads a file again that changed since the walk: what it is now, without a warning", async () => {
    writeFileSync(at("grew"), "short");
    writeFileSync(at("grew large"), "short");
    writeFileSync(at("shrank"), randomBytes(2 * MiB));
    writeFileSync(at("replaced"), "old");
    const large = randomBytes(3 * MiB);
    const result = await backUpAfter(() => {
      writeFileSync(at("grew"), "much longer than before");
      writeFileSync(at("grew large"), large);
      writeFileSync(at("shrank"), "tiny");
      writeFileSync(at("replacement"), "new content");
      renameSync(at("replacement"), at("replaced"));
    });
    expect(result.warnings).to.deep.equal([]);
    const tree = await readBack(place, result);
    expect(tree.get("grew")?.content?.toString()).to.equal("much longer than before");
    expect(tree.get("grew large")?.content?.equals(large)).to.be.true;
    expect(tree.get("shrank")?.content?.toString()).to.equal("tiny");
    expect(tree.get("replaced")?.content?.toString()).to.equal("new content");
  });

  it("marks a file that changes all the time while it is read, and does not call it unchanged the next time", async () => {
    writeFileSync(at("busy"), randomBytes(30 * MiB));
    const writer = spawn("sh", ["-c", 'while :; do echo more >> "$0"; done', at("busy")], { stdio: "ignore" });
    try {
      const result = await backUp(place);
      expect(codes(result)).to.deep.equal(["SKEP_SOURCE_FILE_CHANGED"]);
      expect((await readBack(place, result)).get("busy")).to.include({ changedWhileRead: true });
    } finally {
      writer.kill("SIGKILL");
      await new Promise((resolve) => writer.once("exit", resolve));
    }
    const cache = openCache(place);
    expect(cache.filesAfter(cache.openVolume("data", "1"), null, 10)).to.deep.equal([]);
    cache.close();
  });

  it("does not remember a file that changed just before it was read", async () => {
    writeFileSync(at("fresh"), "fresh");
    await backUp(place, { now: Date.now });
    const cache = openCache(place);
    expect(cache.filesAfter(cache.openVolume("data", "1"), null, 10)).to.deep.equal([]);
    cache.close();
  });

  it("reads all files again when the volume was made anew", async () => {
    writeFileSync(at("file"), "content");
    await backUp(place);
    let cache = openCache(place);
    expect(cache.filesAfter(cache.openVolume("data", "1"), null, 10).length).to.equal(1);
    expect(cache.filesAfter(cache.openVolume("data", "2"), null, 10).length).to.equal(0);
    cache.close();
    cache = openCache(place, { incarnation: 2 });
    expect(cache.filesAfter(cache.openVolume("data", "2"), null, 10).length).to.equal(0);
    expect(cache.indexObjects()).to.deep.equal([]);
    cache.close();
  });

  it("trusts no cache that the store does not bear out", async () => {
    const content = randomBytes(2 * MiB);
    writeFileSync(at("file"), content);
    const remove = (folder: string): void => {
      rmSync(join(place.storePath, folder), { recursive: true });
    };
    const check = async (): Promise<SnapshotResult> => {
      const result = await backUp(place);
      expect((await readBack(place, result)).get("file")?.content?.equals(content)).to.be.true;
      return result;
    };
    await check();
    remove("packs");
    expect((await check()).totals.newBytes).to.be.greaterThan(2 * MiB);
    remove("index");
    expect((await check()).totals.newBytes).to.be.greaterThan(2 * MiB);
    // Both: the store as it was before the first snapshot.
    remove("packs");
    remove("index");
    expect((await check()).totals.newBytes).to.be.greaterThan(2 * MiB);
    writeFileSync(place.cachePath, randomBytes(100_000));
    expect((await check()).totals.newBytes).to.equal(0);
  });

  it("reads a file again of which the cache holds what no file is made of", async () => {
    const content = randomBytes(100_000);
    for (const name of ["a", "b", "c"]) writeFileSync(at(name), content.subarray(name.charCodeAt(0)));
    await backUp(place);
    const damages = ["x'00'", "substr(extents, 1, 36) || x'000000000000f87f'", "extents || extents"];
    const database = new DatabaseSync(place.cachePath);
    for (const [index, damage] of damages.entries()) {
      const { path } = database.prepare("SELECT path FROM files ORDER BY path LIMIT 1 OFFSET ?").get(index) ?? {};
      database.prepare(`UPDATE files SET extents = CAST(${damage} AS BLOB) WHERE path = ?`).run(path as Uint8Array);
    }
    expect(database.prepare("SELECT count(*) AS files FROM files").get()?.["files"]).to.equal(3);
    database.close();
    const tree = await readBack(place, await backUp(place));
    for (const name of ["a", "b", "c"]) {
      expect(tree.get(name)?.content?.equals(content.subarray(name.charCodeAt(0))), name).to.be.true;
    }
  });

  it("brings the cache of a machine that was set back up to what the store has", async () => {
    const content = randomBytes(MiB);
    writeFileSync(at("file"), content);
    await backUp(place);
    cpSync(place.cachePath, `${place.cachePath}.before`);
    writeFileSync(at("file"), randomBytes(MiB));
    writeFileSync(at("later"), randomBytes(MiB));
    await backUp(place);
    cpSync(`${place.cachePath}.before`, place.cachePath);
    // What the cache does not know of is in the store's index, and the file's ctime is not that of the cache.
    const result = await backUp(place);
    expect(result.totals.newBytes).to.equal(0);
    const tree = await readBack(place, result);
    expect(tree.get("file")?.content?.equals(content)).to.be.false;
    expect(tree.get("later")?.sizeBytes).to.equal(MiB);
  });

  it("throws the cache away that was made for another repository at the same place", async () => {
    writeFileSync(at("file"), randomBytes(MiB));
    await backUp(place);
    const other = await makePlace();
    try {
      cpSync(place.cachePath, other.cachePath);
      const result = await backUp({ ...other, source: place.source });
      expect(result.totals.newBytes).to.be.greaterThan(MiB);
      expect((await readBack(other, result)).get("file")?.sizeBytes).to.equal(MiB);
    } finally {
      await other.remove();
    }
  });

  it("reads a file again that has its size and times, but another inode or change time", async () => {
    const content = randomBytes(200_000);
    writeFileSync(at("file"), randomBytes(200_000));
    utimesSync(at("file"), 1e9, 1e9);
    await backUp(place);
    // Written in place, and the modification time set back: only the change time tells.
    writeFileSync(at("file"), content);
    utimesSync(at("file"), 1e9, 1e9);
    expect((await readBack(place, await backUp(place))).get("file")?.content?.equals(content)).to.be.true;
    writeFileSync(at("other"), randomBytes(200_000));
    utimesSync(at("other"), 1e9, 1e9);
    renameSync(at("other"), at("file"));
    const tree = await readBack(place, await backUp(place));
    expect(tree.get("file")?.content?.equals(content)).to.be.false;
  });

  it("goes on where an index object is damaged, and says so", async () => {
    writeFileSync(at("file"), randomBytes(MiB));
    await backUp(place);
    const folder = join(place.storePath, "index", "node1");
    for (const name of readdirSync(folder)) writeFileSync(join(folder, name), "damaged");
    rmSync(place.cachePath);
    const result = await backUp(place);
    expect(codes(result)).to.deep.equal(["SKEP_INDEX_UNREADABLE"]);
    expect((await readBack(place, result)).get("file")?.sizeBytes).to.equal(MiB);
  });

  it("goes without its cache where that cannot be kept, and says so", async () => {
    writeFileSync(at("file"), "content");
    place.cachePath = join(place.path, "no", "such", "folder", "cache");
    const result = await backUp(place);
    expect(codes(result)).to.deep.equal(["SKEP_CACHE_UNUSABLE"]);
    expect((await readBack(place, result)).get("file")?.content?.toString()).to.equal("content");
  });

  it("refuses a walk that is out of order", async () => {
    writeFileSync(at("a"), "a");
    writeFileSync(at("b"), "b");
    const entries = await Array.fromAsync(walk(place.source));
    await expectCode("SKEP_SOURCE_ORDER", () => backUp(place, { entries: replay(entries.toReversed()) }));
  });

  it("sends no faster than it may", async () => {
    writeFileSync(at("large"), randomBytes(20 * MiB));
    const startedAt = performance.now();
    await backUp(place, { maxBytesPerSecond: 20 * MiB, workers: 1 });
    // The first pack of 16 MiB goes at once, the second when that has had its time.
    expect(performance.now() - startedAt).to.be.greaterThan(700);
  });
});
