import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { expect } from "chai";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import { cutAt, delayEach, dieAt, failAt, FaultyStore, loseAnswerAt } from "./faulty.ts";
import { collect, rejects, thrownBy } from "./suite.ts";

describe("the faulty store", () => {
  let root: string;
  let inner: Store;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "skep-store-"));
    inner = openDirectory(root);
  });
  afterEach(async () => {
    await rm(root, { recursive: true });
  });

  it("fails the nth call alone, before or after it was done", async () => {
    const failing = new FaultyStore(inner, failAt(2));
    await failing.put("a", Buffer.from("x"));
    await rejects(failing.put("b", Buffer.from("x")), "SKEP_STORE_UNREACHABLE", false, "call 2", "put b");
    await failing.put("c", Buffer.from("x"));
    const losing = new FaultyStore(inner, loseAnswerAt(1, new Error("lost")));
    expect(String(await thrownBy(losing.put("d", Buffer.from("x"))))).to.include("lost");
    expect((await collect(inner.list(""))).map(({ key }) => key)).to.deep.equal(["a", "c", "d"]);
  });

  it("stops a put under way, and leaves all of it or nothing", async () => {
    const bytes = randomBytes(16 * 1024 * 1024);
    const cut = new FaultyStore(inner, cutAt(1));
    await rejects(cut.put("a", bytes), "SKEP_STORE_UNREACHABLE", false);
    const found = await inner.get("a", bytes.length);
    expect(found === null || bytes.equals(found)).to.be.true;
  });

  it("is dead from the nth call on, and counts the calls", async () => {
    const dying = new FaultyStore(inner, dieAt(2));
    await dying.put("a", Buffer.from("x"));
    for (const act of [
      () => dying.head("a"),
      () => dying.get("a", 1),
      () => collect(dying.list("")),
      () => dying.probe(),
    ]) {
      await rejects(act(), "SKEP_STORE_UNREACHABLE", false, "died");
    }
    expect(dying.calls.map(({ method }) => method)).to.deep.equal(["put", "head", "get", "list", "probe"]);
  });

  it("comes late, unless it is told to stop", async () => {
    const slow = new FaultyStore(inner, delayEach(50));
    const startedMs = performance.now();
    expect(await slow.head("a")).to.equal(null);
    expect(performance.now() - startedMs).to.be.above(40);
    const stopped = await thrownBy(slow.head("a", AbortSignal.timeout(5)));
    expect(stopped).to.be.instanceOf(Error);
  });
});
