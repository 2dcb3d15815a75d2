// The S3 store against a real server (Ceph), with the suite of every store and with all that goes wrong in the field.
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
} from "@aws-sdk/client-s3";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import type { StoreCredentials } from "../../shared/store/location.ts";
import { openStore, s3Settings } from "../../shared/store/open.ts";
import { defaultPatience, S3Store } from "../../shared/store/s3-store.ts";
import type { Store } from "../../shared/store/store.ts";
import { Lab } from "../lab/lab.ts";
import type { BucketOptions } from "../lab/s3.ts";
import { FaultyLine, type LineFault } from "../shared/store/faulty-line.ts";
import { collect, rejects, storeSuite, thrownBy, type StoreUnderTest } from "../shared/store/suite.ts";

describe("the S3 store on a real server", () => {
  let lab: Lab;
  let owner: StoreCredentials;
  const closing: (() => Promise<void>)[] = [];

  before(async function () {
    this.timeout(300_000);
    lab = await Lab.up({ s3: true });
    owner = await lab.s3.credentials();
  });

  after(async () => {
    await lab.down();
  });

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  let buckets = 0;

  async function newBucket(options: BucketOptions = {}): Promise<string> {
    const bucket = `bucket${++buckets}`;
    await lab.s3.createBucket(bucket, options);
    return bucket;
  }

  /** With short patience, unless the test is about patience. */
  function open(
    bucket: string,
    more: { credentials?: StoreCredentials; endpoint?: string; attempts?: number; idleMs?: number } = {},
  ): Store {
    const location = { url: `s3://${bucket}/swarm-a`, endpoint: more.endpoint ?? lab.s3.endpoint };
    const settings = {
      ...s3Settings(location, { bucket, prefix: "swarm-a" }),
      connectMs: 1000,
      idleMs: more.idleMs ?? 3000,
    };
    const patience = { ...defaultPatience, attempts: more.attempts ?? 6, firstPauseMs: 100, longestPauseMs: 1000 };
    const store = new S3Store(settings, more.credentials ?? owner, patience);
    closing.push(() => store.close());
    return store;
  }

  async function lineTo(faults: readonly LineFault[]): Promise<FaultyLine> {
    const line = await FaultyLine.to(lab.s3.endpoint, faults);
    closing.push(() => line.close());
    return line;
  }

  const kinds: [string, BucketOptions, StoreUnderTest["expected"]][] = [
    ["a plain bucket", {}, { conditionalWrites: true, versions: false, objectLock: false }],
    // Ceph 18 takes If-None-Match in a bucket with versions, and overwrites: the probe must see through it.
    ["a bucket with versions", { versioning: true }, { conditionalWrites: false, versions: true, objectLock: false }],
    ["a bucket with lock", { objectLock: true }, { conditionalWrites: false, versions: true, objectLock: true }],
  ];
  for (const [title, options, expected] of kinds) {
    storeSuite(title, async () => {
      const bucket = await newBucket(options);
      const location = { url: `s3://${bucket}/some/prefix`, endpoint: lab.s3.endpoint };
      return {
        open: () => Promise.resolve(openStore(location, owner)),
        expected,
        remove: () => Promise.resolve(), // goes with the lab
      };
    });
  }

  it("leaves no version and no mark behind after a probe", async () => {
    const bucket = await newBucket({ objectLock: true });
    await open(bucket).probe();
    const client = lab.s3.client(owner);
    closing.push(() => {
      client.destroy();
      return Promise.resolve();
    });
    const { Versions, DeleteMarkers } = await client.send(new ListObjectVersionsCommand({ Bucket: bucket }));
    expect([Versions ?? [], DeleteMarkers ?? []]).to.deep.equal([[], []]);
  });

  it("tells what was put before the bucket kept versions as the first, once something lies over it", async () => {
    const bucket = await newBucket();
    const store = open(bucket);
    for (const key of ["packs/a", "packs/b"]) await store.put(key, Buffer.from("first"));
    expect(await Array.fromAsync(store.listVersions("packs/"))).to.deep.equal([]);
    const client = lab.s3.client(owner);
    closing.push(() => {
      client.destroy();
      return Promise.resolve();
    });
    const VersioningConfiguration = { Status: "Enabled" as const };
    await client.send(new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration }));
    const over = await store.put("packs/a", Buffer.from("thief"));
    const found = await Array.fromAsync(store.listVersions("packs/"));
    expect(found.map(({ key, versionId }) => [key, versionId])).to.deep.equal([
      ["packs/a", over.versionId],
      ["packs/a", "null"],
    ]);
    expect(Buffer.from((await store.get("packs/a", 100, undefined, "null")) ?? []).toString()).to.equal("first");
  });

  it("tells what a thief of the credentials could destroy", async () => {
    const writer = await lab.s3.createUser("writer");
    const rights = ["s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:ListBucketVersions"];
    const plain = await newBucket();
    await lab.s3.allow(plain, ["writer"], rights);
    const inPlain = open(plain, { credentials: writer });
    expect(await inPlain.probe()).to.include({ deletes: false, destroys: true }); // it overwrites
    expect(await collect(inPlain.list("probe/"))).to.have.length(1);
    await rejects(inPlain.delete(["a", "b"]), "SKEP_STORE_DENIED", true, "a");

    const versioned = await newBucket({ versioning: true });
    await lab.s3.allow(versioned, ["writer"], rights);
    const inVersioned = open(versioned, { credentials: writer });
    expect(await inVersioned.probe()).to.include({ versions: true, deletes: false, destroys: false });
  });

  it("needs no more than the right to put in order to put, and says so of the rest", async () => {
    const putter = await lab.s3.createUser("putter");
    const bucket = await newBucket();
    await lab.s3.allow(bucket, ["putter"], ["s3:PutObject"]);
    const store = open(bucket, { credentials: putter });
    await store.put("a", randomBytes(3 * 1024 * 1024));
    const seen = await collect(open(bucket).list(""));
    expect(seen.map(({ key, sizeBytes }) => [key, sizeBytes])).to.deep.equal([["a", 3 * 1024 * 1024]]);
    await rejects(store.get("a", 10), "SKEP_STORE_DENIED", true, "get a");
    await rejects(collect(store.list("")), "SKEP_STORE_DENIED", true, "list all");
    const found = await store.probe();
    expect(found).to.deep.equal({
      ...{ conditionalWrites: false, versions: false, objectLock: false },
      ...{ deletes: false, destroys: true },
    });
  });

  it("names the secret to check when the server does not take the credentials", async () => {
    const bucket = await newBucket();
    const strange = await lab.s3.createUser("stranger");
    const bad: [string, StoreCredentials, RegExp][] = [
      ["unknown key id", { ...owner, accessKeyId: "NOBODYKNOWSTHISKEYID" }, /holds the access key id/],
      ["wrong secret", { ...owner, secretAccessKey: "not-the-secret-of-this-key" }, /holds the secret access key/],
      ["no rights", strange, /s3:PutObject/],
    ];
    for (const [title, credentials, hint] of bad) {
      const store = open(bucket, { credentials });
      for (const act of everyAct(store)) {
        const error = await rejects(act(), "SKEP_STORE_DENIED", true, bucket, lab.s3.endpoint);
        expect(error.hint, title).to.match(hint);
        for (const secret of Object.values(credentials)) {
          expect(`${error.message}${error.hint ?? ""}${String(error.cause)}`).to.not.include(secret);
        }
      }
    }
  });

  it("says that the bucket is missing, from the first day or since a moment ago", async () => {
    for (const act of everyAct(open("never-made"))) {
      await rejects(act(), "SKEP_STORE_BUCKET_MISSING", true, "never-made", lab.s3.endpoint);
    }
    const bucket = await newBucket();
    const store = open(bucket);
    await store.put("a", Buffer.from("x"));
    await store.delete(["a"]);
    const client = lab.s3.client(owner);
    closing.push(() => {
      client.destroy();
      return Promise.resolve();
    });
    await client.send(new DeleteBucketCommand({ Bucket: bucket }));
    for (const act of everyAct(store)) await rejects(act(), "SKEP_STORE_BUCKET_MISSING", true, bucket);
  });

  it("says that the quota is used up, and keeps what was stored before", async () => {
    const tenant = await lab.s3.createUser("tenant");
    await lab.s3.limit("tenant", 4 * 1024 * 1024);
    const client = lab.s3.client(tenant);
    closing.push(() => {
      client.destroy();
      return Promise.resolve();
    });
    await client.send(new CreateBucketCommand({ Bucket: "tenants" }));
    const store = open("tenants", { credentials: tenant });
    await store.put("a", Buffer.from("kept"));
    const error = await rejects(store.put("b", randomBytes(5 * 1024 * 1024)), "SKEP_STORE_FULL", true, "put b");
    expect(error.hint).to.match(/quota/);
    expect(Buffer.from((await store.get("a", 10)) ?? "").toString()).to.equal("kept");
    expect(await store.head("b")).to.equal(null);
  });

  it("says that this machine's clock is wrong", async () => {
    const store = open(await newBucket());
    const RealDate = Date;
    globalThis.Date = class extends RealDate {
      constructor(...args: [] | [number | string]) {
        if (args.length === 0) super(RealDate.now() - 3600_000);
        else super(...args);
      }
    } as DateConstructor;
    try {
      const error = await rejects(store.put("a", Buffer.from("x")), "SKEP_STORE_CLOCK_SKEW", true, "put a");
      expect(error.hint).to.match(/clock/);
      await rejects(store.get("a", 1), "SKEP_STORE_CLOCK_SKEW", true); // not worked around the second time either
    } finally {
      globalThis.Date = RealDate;
    }
    await store.put("a", Buffer.from("x"));
  });

  it("goes on when a server that hung answers again", async () => {
    const bucket = await newBucket();
    const store = open(bucket, { idleMs: 700, attempts: 2 });
    const bytes = randomBytes(8 * 1024 * 1024);
    await store.put("a", bytes);
    await lab.s3.suspend();
    try {
      await rejects(store.put("b", bytes), "SKEP_STORE_UNREACHABLE", false, "put b", "tried 2 times");
      const getting = open(bucket, { idleMs: 700, attempts: 20 }).get("a", bytes.length);
      await sleep(1000);
      await lab.s3.resume();
      expect(bytes.equals((await getting) ?? new Uint8Array())).to.be.true;
    } finally {
      await lab.s3.resume();
    }
    await store.put("b", bytes);
    expect(bytes.equals((await store.get("b", bytes.length)) ?? new Uint8Array())).to.be.true;
  });

  it("goes on when a server that was stopped is back", async () => {
    const bucket = await newBucket();
    const store = open(bucket, { attempts: 60 });
    await store.put("a", Buffer.from("x"));
    await lab.s3.stop();
    const hasty = open(bucket, { attempts: 2 });
    await rejects(hasty.put("b", Buffer.from("x")), "SKEP_STORE_UNREACHABLE", false, "put b", lab.s3.endpoint);
    const putting = store.put("b", Buffer.from("y"));
    await lab.s3.start();
    await putting;
    expect((await collect(store.list(""))).map(({ key }) => key)).to.deep.equal(["a", "b"]);
  });

  it("goes on when a line that was dead carries again, and stops at once when told to", async () => {
    const bucket = await newBucket();
    const store = open(bucket, { attempts: 60 });
    await lab.s3.cut();
    try {
      const hasty = open(bucket, { attempts: 2 });
      await rejects(hasty.put("a", Buffer.from("x")), "SKEP_STORE_UNREACHABLE", false, "put a");
      const controller = new AbortController();
      const reason = new Error("stop");
      const stopped = thrownBy(store.put("a", Buffer.from("x"), { signal: controller.signal }));
      await sleep(300);
      const abortedAtMs = performance.now();
      controller.abort(reason);
      expect(await stopped).to.equal(reason);
      expect(performance.now() - abortedAtMs).to.be.below(200);
      const putting = store.put("b", Buffer.from("x"));
      await sleep(300);
      await lab.s3.heal();
      await putting;
    } finally {
      await lab.s3.heal();
    }
    expect((await collect(store.list(""))).map(({ key }) => key)).to.deep.equal(["b"]);
  });

  it("puts an object whole after the line was cut in its middle, and never shows a part", async () => {
    const bucket = await newBucket();
    const bytes = randomBytes(16 * 1024 * 1024);
    const line = await lineTo([{ cutUpAfterBytes: 5_000_000 }, { cutUpAfterBytes: 15_000_000 }]);
    const direct = open(bucket);
    const putting = open(bucket, { endpoint: line.endpoint }).put("a", bytes);
    while (line.upBytes.length < 2) {
      const part = await direct.head("a");
      if (line.upBytes.length < 2) expect(part).to.equal(null);
    }
    await putting;
    expect(line.upBytes).to.have.length(3);
    expect(bytes.equals((await direct.get("a", bytes.length)) ?? new Uint8Array())).to.be.true;
    const hasty = open(bucket, { endpoint: (await lineTo([{ cutUpAfterBytes: 5_000_000 }])).endpoint, attempts: 1 });
    await rejects(hasty.put("b", bytes), "SKEP_STORE_UNREACHABLE", false, "put b");
    expect(await direct.head("b")).to.equal(null);
  });

  it("knows its own creation again after the answer was lost on the line", async () => {
    const bucket = await newBucket();
    const direct = open(bucket);
    // HEAD and list fail over a line that loses answers, so creation must be proven before: then a PUT comes alone.
    const line = await lineTo([]);
    const warm = open(bucket, { endpoint: line.endpoint });
    expect((await warm.probe()).conditionalWrites).to.be.true;
    await warm.close();
    const lossy = await lineTo([{}, { loseAnswer: true }, { loseAnswer: true }]);
    const store = open(bucket, { endpoint: lossy.endpoint });
    expect(await store.head("a")).to.equal(null); // the first connection is good, and idle from now on
    expect(await store.putIfAbsent("a", Buffer.from("mine"))).to.include({ sizeBytes: 4 });
    expect(Buffer.from((await direct.get("a", 10)) ?? "").toString()).to.equal("mine");
    expect(await store.putIfAbsent("a", Buffer.from("other"))).to.equal(null);
  });

  it("notices a bit that flipped on the way up, by the server's own check, and puts again", async () => {
    const bucket = await newBucket();
    const bytes = randomBytes(4 * 1024 * 1024);
    const line = await lineTo([{ flipUpByte: 2_000_000 }]);
    await open(bucket, { endpoint: line.endpoint }).put("a", bytes);
    expect(line.upBytes.reduce((sum, up) => sum + up)).to.be.above(8 * 1024 * 1024);
    const once = open(bucket, { endpoint: (await lineTo([{ flipUpByte: 2_000_000 }])).endpoint, attempts: 1 });
    await rejects(once.put("b", bytes), "SKEP_STORE_CORRUPT", false, "put b");
    expect(await open(bucket).head("b")).to.equal(null);
  });

  it("notices a bit that flipped on the way down, and gets again", async () => {
    const bucket = await newBucket();
    const bytes = randomBytes(4 * 1024 * 1024);
    await open(bucket).put("a", bytes);
    const line = await lineTo([{ flipDownByte: 2_000_000 }]);
    const store = open(bucket, { endpoint: line.endpoint });
    expect(bytes.equals((await store.get("a", bytes.length)) ?? new Uint8Array())).to.be.true;
    const once = open(bucket, { endpoint: (await lineTo([{ flipDownByte: 2_000_000 }])).endpoint, attempts: 1 });
    await rejects(once.get("a", bytes.length), "SKEP_STORE_CORRUPT", false, "a at", "checksum");
  });

  it("waits for a slow line as long as bytes flow, and leaves nothing when stopped on it", async () => {
    const bucket = await newBucket();
    const bytes = randomBytes(3 * 1024 * 1024);
    const line = await lineTo([{ upBytesPerSecond: 1024 * 1024 }, { upBytesPerSecond: 1024 * 1024 }]);
    // Silence is counted from the byte that the kernel took, and on this machine it takes megabytes at once.
    const store = open(bucket, { endpoint: line.endpoint, idleMs: 5000 });
    const startedMs = performance.now();
    await store.put("a", bytes);
    expect(performance.now() - startedMs).to.be.above(2000);
    const reason = new Error("stop");
    const controller = new AbortController();
    const stopped = thrownBy(store.put("b", bytes, { signal: controller.signal }));
    await sleep(700);
    controller.abort(reason);
    expect(await stopped).to.equal(reason);
    await sleep(200);
    expect((await collect(open(bucket).list(""))).map(({ key }) => key)).to.deep.equal(["a"]);
  });
});

function everyAct(store: Store): (() => Promise<unknown>)[] {
  return [
    () => store.put("a", Buffer.from("x")),
    () => store.put("a", randomBytes(8 * 1024 * 1024)),
    () => store.putIfAbsent("a", Buffer.from("x")),
    () => store.get("a", 10),
    () => store.getRange("a", 0, 1),
    () => store.head("a"),
    () => collect(store.list("")),
    () => store.delete(["a"]),
    () => store.probe(),
  ];
}
