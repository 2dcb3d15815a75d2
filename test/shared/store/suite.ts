// What every store must do. The directory runs it in test/shared/store/directory.test.ts, S3 against a real server in
// test/e2e/store-s3.test.ts. Nothing here knows which store it is; no flag leaves a case out.
import { createHash, randomBytes } from "node:crypto";
import { expect } from "chai";
import fc from "fast-check";
import { SkepError } from "../../../shared/errors.ts";
import { checkPromises } from "../../../shared/store/conformance.ts";
import { maxObjectBytes } from "../../../shared/store/limits.ts";
import type { ObjectInfo, Store } from "../../../shared/store/store.ts";

export interface StoreUnderTest {
  /** Another client of the same store, which was empty at first. The suite closes it. */
  open(): Promise<Store>;
  /** What a probe must find here. */
  expected: { conditionalWrites: boolean; versions: boolean; objectLock: boolean };
  remove(): Promise<void>;
}

const malformedKeys = [
  "",
  "/",
  "a/",
  "/a",
  "a//b",
  ".",
  "..",
  "a/../b",
  ".hidden",
  "A",
  "a b",
  "a\u0000b",
  "ä",
  "a\\b",
];

export function storeSuite(title: string, make: () => Promise<StoreUnderTest>): void {
  describe(`${title}, as every store`, () => {
    let place: StoreUnderTest;
    let store: Store;
    let second: Store;

    before(async () => {
      place = await make();
      store = await place.open();
      second = await place.open();
    });

    after(async () => {
      await store.close();
      await second.close();
      await place.remove();
    });

    it("gives back exactly the bytes that were put, whatever their size", async () => {
      const sizes = [0, 1, 2, 4095, 65_537, 1_048_577];
      for (const size of sizes) {
        const bytes = randomBytes(size);
        expect(await store.put(`sizes/${size}`, bytes)).to.include({ sizeBytes: size });
        expect(Buffer.from((await second.get(`sizes/${size}`, size)) ?? "none").equals(bytes)).to.be.true;
        expect(await second.head(`sizes/${size}`)).to.include({ key: `sizes/${size}`, sizeBytes: size });
      }
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
          await store.put("sizes/any", bytes);
          expect([...((await store.get("sizes/any", 200)) ?? [])]).to.deep.equal([...bytes]);
        }),
        { numRuns: 25 },
      );
    });

    it("carries an object of a pack's full size, and takes a view into a larger buffer as what it shows", async function () {
      this.timeout(60_000);
      const whole = randomBytes(32 * 1024 * 1024 + 20);
      const view = new Uint8Array(whole.buffer, whole.byteOffset + 10, whole.length - 20);
      const digest = sha256(view);
      await store.put("large/pack", view);
      whole.fill(0); // bytes are not kept after the promise settles
      const back = await store.get("large/pack", view.byteLength);
      expect(back?.byteLength).to.equal(view.byteLength);
      expect(sha256(back ?? new Uint8Array())).to.equal(digest);
    });

    it("replaces an object on put, whole", async () => {
      await store.put("again/x", Buffer.from("a long first version"));
      await second.put("again/x", Buffer.from("short"));
      expect(text(await store.get("again/x", 100))).to.equal("short");
    });

    it("gives back former versions where it keeps them, the first one last", async () => {
      for (const written of ["first", "second"]) await store.put("former/x", Buffer.from(written));
      await store.put("former/y", Buffer.from("other"));
      await store.delete(["former/y"]);
      const found = await Array.fromAsync(second.listVersions("former/"));
      if (!place.expected.versions) {
        expect(found).to.deep.equal([]);
        return;
      }
      expect(found.map(({ key }) => key)).to.deep.equal(["former/x", "former/x", "former/y"]);
      const texts = await Promise.all(
        found.map(async ({ key, versionId }) => text(await store.get(key, 100, undefined, versionId))),
      );
      expect(texts).to.deep.equal(["second", "first", "other"]);
    });

    it("answers null for what is not there", async () => {
      expect(await store.get("none/x", 10)).to.equal(null);
      expect(await store.getRange("none/x", 0, 10)).to.equal(null);
      expect(await store.getRange("none/x", 5, 5)).to.equal(null);
      expect(await store.head("none/x")).to.equal(null);
      expect(await collect(store.list("none/"))).to.deep.equal([]);
    });

    it("refuses an object larger than its reader allows", async () => {
      await store.put("limits/x", randomBytes(100));
      expect((await store.get("limits/x", 100))?.byteLength).to.equal(100);
      await rejects(store.get("limits/x", 99), "SKEP_STORE_TOO_LARGE", true, "limits/x", store.address);
    });

    it("refuses to put more than 64 MiB", async () => {
      const tooMuch = new Uint8Array(maxObjectBytes + 1);
      await rejects(store.put("limits/huge", tooMuch), "SKEP_STORE_TOO_LARGE", true, "limits/huge");
      await rejects(store.putIfAbsent("limits/huge", tooMuch), "SKEP_STORE_TOO_LARGE", true, "limits/huge");
      expect(await store.head("limits/huge")).to.equal(null);
    });

    it("reads any range, shorter only where the object ends", async () => {
      const bytes = randomBytes(50);
      await store.put("ranges/x", bytes);
      for (const [start, end] of [
        [0, 50],
        [0, 1],
        [49, 50],
        [10, 20],
        [40, 60],
        [0, 1000],
        [50, 60],
        [70, 80],
        [0, 0],
        [7, 7],
        [50, 50],
      ] as const) {
        const piece = await store.getRange("ranges/x", start, end);
        expect(piece, `${start}-${end}`).to.not.equal(null);
        expect(Buffer.from(piece ?? "none").equals(bytes.subarray(start, end)), `${start}-${end}`).to.be.true;
      }
      const into = new Uint8Array(new SharedArrayBuffer(60));
      for (const [start, end] of [
        [0, 50],
        [10, 20],
        [40, 60],
        [50, 60],
      ] as const) {
        const piece = await store.getRange("ranges/x", start, end, undefined, into);
        const expected = bytes.subarray(start, end);
        expect(Buffer.from(piece ?? "none").equals(expected), `${start}-${end} into memory`).to.be.true;
        expect(expected.length === 0 || piece?.buffer === into.buffer, `${start}-${end} lies there`).to.be.true;
      }
      await store.put("ranges/empty", new Uint8Array());
      expect((await store.getRange("ranges/empty", 0, 10))?.byteLength).to.equal(0);
      for (const [start, end] of [
        [-1, 5],
        [5, 4],
        [0.5, 3],
        [0, Number.NaN],
        [0, maxObjectBytes + 1],
      ] as const) {
        await rejects(store.getRange("ranges/x", start, end), "SKEP_STORE_RANGE", true);
      }
    });

    it("takes bytes from memory that threads share", async () => {
      const shared = Buffer.from(new SharedArrayBuffer(5_000_001));
      randomBytes(shared.length).copy(shared);
      await store.put("shared/x", shared.subarray(1));
      expect(shared.subarray(1).equals((await store.get("shared/x", shared.length)) ?? new Uint8Array())).to.be.true;
    });

    it("lists in the order of the keys' bytes, from any beginning of a key", async () => {
      const keys = ["l/a-1", "l/a.b", "l/a/1", "l/a/b/2", "l/a0", "l/a_", "l/aa", "l/b", "la"];
      for (const key of keys.toReversed()) await store.put(key, Buffer.from(key));
      expect((await collect(store.list("l"))).map(({ key }) => key)).to.deep.equal(
        [...keys, "large/pack", "limits/x"].sort(),
      );
      expect((await collect(second.list("l/"))).map(({ key }) => key)).to.deep.equal(keys.slice(0, 8));
      expect((await collect(store.list("l/a/"))).map(({ key }) => key)).to.deep.equal(["l/a/1", "l/a/b/2"]);
      expect((await collect(store.list("l/a/b/2"))).map(({ key }) => key)).to.deep.equal(["l/a/b/2"]);
      const infos = await collect(store.list("l/a"));
      expect(infos.map(({ key }) => key)).to.deep.equal(keys.slice(0, 7));
      for (const info of infos) expect(info.sizeBytes).to.equal(info.key.length);
    });

    it("tells by its own clock when an object was stored, the same in head and list", async () => {
      await store.put("clock/x", Buffer.from("x"));
      const head = await store.head("clock/x");
      const [listed] = await collect(store.list("clock/"));
      expect(head?.storedAt).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      expect(Math.abs(Date.parse(head?.storedAt ?? "") - Date.now())).to.be.below(60_000);
      // S3 rounds to a second in one of the two.
      expect(Math.abs(Date.parse(head?.storedAt ?? "") - Date.parse(listed?.storedAt ?? ""))).to.be.below(1000);
    });

    it("lists and deletes more objects than one page holds", async function () {
      this.timeout(120_000);
      const keys = Array.from({ length: 1203 }, (_, index) => `many/${String(index).padStart(5, "0")}`);
      const queue = [...keys];
      const putAll = async (): Promise<void> => {
        for (let key = queue.pop(); key !== undefined; key = queue.pop()) await store.put(key, Buffer.from("x"));
      };
      await Promise.all(Array.from({ length: 16 }, putAll));
      expect((await collect(store.list("many/"))).map(({ key }) => key)).to.deep.equal(keys);
      await store.delete([...keys, "many/never-was"]);
      expect(await collect(store.list("many/"))).to.deep.equal([]);
    });

    it("lets one creator win and leaves the winner's bytes alone", async () => {
      expect(await store.putIfAbsent("once/x", Buffer.from("first"))).to.include({ sizeBytes: 5 });
      expect(await second.putIfAbsent("once/x", Buffer.from("second"))).to.equal(null);
      expect(await store.putIfAbsent("once/x", Buffer.from("first"))).to.equal(null);
      expect(text(await second.get("once/x", 10))).to.equal("first");
      await store.delete(["once/x"]);
      expect(await second.putIfAbsent("once/x", Buffer.from("third"))).to.include({ sizeBytes: 5 });
    });

    it("lets exactly one of many racing creators win, where a probe proved it", async function () {
      this.timeout(60_000);
      await Promise.all([store.probe(), second.probe()]);
      for (let round = 0; round < 5; round++) {
        const bodies = Array.from({ length: 10 }, (_, index) => Buffer.from(`round ${round} writer ${index}`));
        const results = await Promise.all(
          bodies.map((body, index) => (index % 2 === 0 ? store : second).putIfAbsent(`race/${round}`, body)),
        );
        const winners = bodies.filter((_, index) => results[index] !== null);
        if (place.expected.conditionalWrites) expect(winners).to.have.length(1);
        expect(winners.map(String)).to.include(text(await store.get(`race/${round}`, 100)));
        expect(await second.putIfAbsent(`race/${round}`, Buffer.from("late"))).to.equal(null);
      }
    });

    it("deletes what is there and takes what is not for done", async () => {
      await store.put("gone/x", Buffer.from("x"));
      await store.put("gone/y", Buffer.from("y"));
      await store.delete(["gone/x", "gone/never-was", "never/was/there"]);
      expect(await second.get("gone/x", 10)).to.equal(null);
      expect(text(await second.get("gone/y", 10))).to.equal("y");
      await store.delete([]);
    });

    it("refuses malformed keys and prefixes on every door", async () => {
      for (const key of malformedKeys) {
        await rejects(store.put(key, new Uint8Array()), "SKEP_STORE_KEY", true);
        await rejects(store.putIfAbsent(key, new Uint8Array()), "SKEP_STORE_KEY", true);
        await rejects(store.get(key, 1), "SKEP_STORE_KEY", true);
        await rejects(store.getRange(key, 0, 1), "SKEP_STORE_KEY", true);
        await rejects(store.head(key), "SKEP_STORE_KEY", true);
        await rejects(store.delete(["ok", key]), "SKEP_STORE_KEY", true);
      }
      for (const prefix of ["/", "..", "a/../", "A", "a//"]) {
        await rejects(collect(store.list(prefix)), "SKEP_STORE_KEY", true);
      }
    });

    it("rejects with the signal's reason when told to stop before it began, and does nothing", async () => {
      await store.put("abort/kept", Buffer.from("kept"));
      const reason = new Error("the operator said stop");
      const signal = AbortSignal.abort(reason);
      const acts: (() => Promise<unknown>)[] = [
        () => store.put("abort/x", Buffer.from("x"), { signal }),
        () => store.putIfAbsent("abort/x", Buffer.from("x"), { signal }),
        () => store.get("abort/kept", 10, signal),
        () => store.getRange("abort/kept", 0, 2, signal),
        () => store.head("abort/kept", signal),
        () => collect(store.list("abort/", signal)),
        () => store.delete(["abort/kept"], signal),
        () => store.probe(signal),
      ];
      for (const act of acts) expect(await thrownBy(act())).to.equal(reason);
      expect((await collect(store.list("abort/"))).map(({ key }) => key)).to.deep.equal(["abort/kept"]);
    });

    it("shows all or nothing of a put that was stopped half-way", async function () {
      this.timeout(60_000);
      const bytes = randomBytes(24 * 1024 * 1024);
      for (const delayMs of [0, 2, 10, 40]) {
        const key = `cut/${delayMs}`;
        const reason = new Error(`stop after ${delayMs} ms`);
        const controller = new AbortController();
        const timer = setTimeout(() => {
          controller.abort(reason);
        }, delayMs);
        const outcome = await store.put(key, bytes, { signal: controller.signal }).then(
          () => "stored",
          (error: unknown) => error,
        );
        clearTimeout(timer);
        if (outcome !== "stored") expect(outcome).to.equal(reason);
        const found = await second.get(key, bytes.length);
        if (found === null) expect(outcome).to.equal(reason);
        else expect(sha256(found)).to.equal(sha256(bytes));
      }
    });

    it("keeps the promises that users try on their own bucket, and is left as it was", async function () {
      this.timeout(120_000);
      // Fewer than a page: each object costs a real server some 50 ms on a busy machine.
      const checked = await checkPromises(store, undefined, 50);
      expect(checked.filter(({ fault }) => fault !== null)).to.deep.equal([]);
      expect(await collect(store.list("probe/"))).to.deep.equal([]);
    });

    it("finds out by trying what it can do, and leaves nothing behind", async function () {
      this.timeout(60_000);
      const { expected } = place;
      expect(await store.probe()).to.deep.equal({ ...expected, deletes: true, destroys: true });
      expect(await collect(store.list("probe/"))).to.deep.equal([]);
    });
  });
}

export async function collect(infos: AsyncIterable<ObjectInfo>): Promise<ObjectInfo[]> {
  return await Array.fromAsync(infos);
}

/** Asserts a SkepError with code and permanence, whose message holds every one of the texts. */
export async function rejects(
  promise: Promise<unknown>,
  code: string,
  permanent: boolean,
  ...texts: string[]
): Promise<SkepError> {
  const error = await thrownBy(promise);
  if (!(error instanceof SkepError)) throw new Error(`expected ${code}`, { cause: error });
  expect({ code: error.code, permanent: error.permanent }, error.message).to.deep.equal({ code, permanent });
  for (const text of texts) expect(error.message).to.include(text);
  return error;
}

export async function thrownBy(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => expect.fail("nothing was thrown"),
    (error: unknown) => error,
  );
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function text(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString();
}
