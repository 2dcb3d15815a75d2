import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { createDirectory, openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import { collect, rejects, storeSuite } from "./suite.ts";

storeSuite("a directory", async () => {
  const root = await mkdtemp(join(tmpdir(), "skep-store-"));
  return {
    open: () => Promise.resolve(openDirectory(root)),
    expected: { conditionalWrites: true, versions: false, objectLock: false },
    remove: () => rm(root, { recursive: true }),
  };
});

describe("a directory store", () => {
  let scratch: string;
  let root: string;
  let store: Store;

  beforeEach(async () => {
    scratch = await mkdtemp(join(tmpdir(), "skep-store-"));
    root = join(scratch, "store");
    await createDirectory(root);
    store = openDirectory(root);
  });

  afterEach(async () => {
    await store.close();
    await rm(scratch, { recursive: true });
  });

  it("keeps files and folders for their owner alone", async () => {
    await store.put("a/b/c", Buffer.from("x"));
    for (const [path, mode] of [
      [root, 0o700],
      [join(root, "a"), 0o700],
      [join(root, "a/b"), 0o700],
      [join(root, "a/b/c"), 0o600],
    ] as const) {
      expect((await stat(path)).mode & 0o777, path).to.equal(mode);
    }
    expect(await readFile(join(root, "a/b/c"), "utf8")).to.equal("x");
  });

  it("leaves an existing root's mode alone, and makes those above it", async () => {
    await chmod(root, 0o755);
    await createDirectory(root);
    expect((await stat(root)).mode & 0o777).to.equal(0o755);
    await createDirectory(join(scratch, "x/y/z"));
    expect((await stat(join(scratch, "x/y/z"))).isDirectory()).to.be.true;
  });

  it("leaves nothing beside after puts that were stored, lost a race or were stopped", async () => {
    await store.put("a", Buffer.from("1"));
    await store.putIfAbsent("a", Buffer.from("2"));
    const controller = new AbortController();
    const put = store.put("b", randomBytes(32 * 1024 * 1024), { signal: controller.signal });
    setImmediate(() => {
      controller.abort(new Error("stop"));
    });
    await put.catch(() => undefined);
    expect(await readdir(join(root, "+partial"))).to.deep.equal([]);
  });

  it("never lists a crashed writer's leftover, and removes it when it is a day old", async () => {
    await store.put("a", Buffer.from("1"));
    const young = join(root, "+partial", "young");
    const old = join(root, "+partial", "old");
    await writeFile(young, "half");
    await writeFile(old, "half");
    const dayAndMinuteAgo = new Date(Date.now() - 24 * 3600_000 - 60_000);
    await utimes(old, dayAndMinuteAgo, dayAndMinuteAgo);
    expect((await collect(store.list(""))).map(({ key }) => key)).to.deep.equal(["a"]);
    const nextProcess = openDirectory(root);
    await nextProcess.put("b", Buffer.from("2"));
    expect(await readdir(join(root, "+partial"))).to.deep.equal(["young"]);
  });

  it("tells a time of an object whose file has one that no calendar has", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", root]);
    try {
      await store.put("a", Buffer.from("1"));
      for (const [seconds, storedAt] of [
        ["99999999999999", "9999-12-31T23:59:59.999Z"],
        ["-99999999999999", "0000-01-01T00:00:00.000Z"],
      ] as const) {
        execFileSync("touch", ["-d", `@${seconds}`, join(root, "a")]);
        expect(await store.head("a")).to.include({ storedAt });
        expect((await collect(store.list("")))[0]).to.include({ storedAt });
      }
    } finally {
      execFileSync("umount", [root]);
    }
  });

  it("skips files that have no key's name: a file server's own, an operator's notes", async () => {
    await store.put("packs/a", Buffer.from("1"));
    await mkdir(join(root, ".snapshot"));
    await mkdir(join(root, "lost+found"));
    await writeFile(join(root, "packs", ".nfs000000000123"), "x");
    await writeFile(join(root, "README.TXT"), "x");
    expect((await collect(store.list(""))).map(({ key }) => key)).to.deep.equal(["packs/a"]);
  });

  it("says that its root is missing, on every door, and makes none", async () => {
    await store.put("a/b", Buffer.from("1"));
    await rename(root, join(scratch, "unmounted"));
    const acts: (() => Promise<unknown>)[] = [
      () => store.put("a/b", Buffer.from("2")),
      () => store.putIfAbsent("a/c", Buffer.from("2")),
      () => store.get("a/b", 10),
      () => store.getRange("a/b", 0, 1),
      () => store.head("a/b"),
      () => collect(store.list("")),
      () => store.delete(["a/b"]),
      () => store.probe(),
    ];
    for (const act of acts) await rejects(act(), "SKEP_STORE_BUCKET_MISSING", true, root);
    expect(await readdir(scratch)).to.deep.equal(["unmounted"]);
    await writeFile(root, "a file in the root's place");
    await rejects(store.head("a/b"), "SKEP_STORE_BUCKET_MISSING", true, root);
  });

  it("follows no link out of the store, to read, write, list or delete", async () => {
    const outside = join(scratch, "outside");
    await mkdir(outside);
    await writeFile(join(outside, "x"), "secret");
    await symlink(outside, join(root, "folder"));
    await symlink(join(outside, "x"), join(root, "file"));
    for (const key of ["folder/x", "file"]) {
      await rejects(store.get(key, 100), "SKEP_STORE_FAILED", true, "symbolic link");
      await rejects(store.getRange(key, 0, 1), "SKEP_STORE_FAILED", true, "symbolic link");
      await rejects(store.head(key), "SKEP_STORE_FAILED", true, "symbolic link");
      await rejects(store.delete([key]), "SKEP_STORE_FAILED", true, "symbolic link");
    }
    await rejects(store.put("folder/y", Buffer.from("y")), "SKEP_STORE_FAILED", true, "symbolic link");
    expect(await store.putIfAbsent("file", Buffer.from("y"))).to.equal(null);
    expect(await collect(store.list(""))).to.deep.equal([]);
    expect(await readdir(outside)).to.deep.equal(["x"]);
    expect(await readFile(join(outside, "x"), "utf8")).to.equal("secret");
    await store.put("file", Buffer.from("mine")); // takes the link's place; what it pointed to stays
    expect(await readFile(join(outside, "x"), "utf8")).to.equal("secret");
  });

  it("tells all keys that it could not delete, after it tried them all", async () => {
    for (const key of ["a", "b", "c", "d"]) await store.put(key, Buffer.from("x"));
    for (const key of ["b", "c"]) {
      await rm(join(root, key));
      await symlink("/etc/hostname", join(root, key));
    }
    await rejects(store.delete(["a", "b", "c", "d"]), "SKEP_STORE_FAILED", true, "2 of 4", "b, c");
    expect(await collect(store.list(""))).to.deep.equal([]);
  });

  it("refuses to put an object below or in the place of another", async () => {
    await store.put("a", Buffer.from("x"));
    await store.put("f/x", Buffer.from("x"));
    await rejects(store.put("a/b", Buffer.from("x")), "SKEP_STORE_FAILED", true, "a at");
    await rejects(store.put("f", Buffer.from("x")), "SKEP_STORE_FAILED", true, "put f at");
    expect(await store.get("a/b", 10)).to.equal(null);
    expect(await store.get("f", 10)).to.equal(null);
  });
});
