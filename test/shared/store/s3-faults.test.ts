// How the S3 store meets a server whose answers fail or lie. Silent and strange ones: s3-connection.test.ts. Real servers: test/e2e/store-s3.test.ts.
import { randomBytes } from "node:crypto";
import { inspect } from "node:util";
import { expect } from "chai";
import { toErrorRecord } from "../../../shared/errors.ts";
import { crc32Of } from "../../../shared/store/body.ts";
import { accept, bare, body, cutAfter, hangUp, refuse, xml, type Answer } from "./lying-server.ts";
import { credentials, S3Rig } from "./s3-rig.ts";
import { collect, rejects, thrownBy } from "./suite.ts";

describe("an S3 store before a bad server", () => {
  const rig = new S3Rig();
  afterEach(() => rig.close());

  it("sends one PUT with its checksums, and what the location asks for", async () => {
    const { server, store } = await rig.against([accept], {
      settings: { storageClass: "STANDARD_IA", encryption: { type: "aws:kms", keyId: "key-1" } },
    });
    const bytes = randomBytes(3_000_000);
    await store.put("packs/0f", bytes);
    expect(server.asked).to.have.length(1);
    const [asked] = server.asked;
    expect(asked?.method).to.equal("PUT");
    expect(asked?.url.split("?")[0]).to.equal("/backups/swarm-a/packs/0f");
    expect(asked?.headers).to.include({
      "content-length": "3000000",
      "x-amz-checksum-crc32": crc32Of(bytes),
      "x-amz-meta-skep-crc32": crc32Of(bytes),
      "x-amz-storage-class": "STANDARD_IA",
      "x-amz-server-side-encryption": "aws:kms",
      "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
      "x-amz-security-token": credentials.sessionToken,
    });
    expect(asked?.headers).to.not.have.any.keys("expect", "transfer-encoding", "if-none-match");
    expect(asked?.headers.authorization).to.match(/SignedHeaders=[^,]*x-amz-content-sha256/);
  });

  it("tries again, with the whole body, while the server is busy", async () => {
    const bytes = randomBytes(100_000);
    const { server, store } = await rig.against([refuse(503, "SlowDown"), refuse(500, "InternalError"), accept]);
    expect(await store.put("a", bytes)).to.deep.equal({ sizeBytes: 100_000, versionId: null });
    expect(server.asked.map((asked) => asked.body.equals(bytes))).to.deep.equal([true, true, true]);
  });

  it("gives up after its attempts, and says how many there were", async () => {
    const { server, store } = await rig.against([refuse(503, "SlowDown")]);
    await rejects(store.put("a", Buffer.from("x")), "SKEP_STORE_FAILED", false, "put a", "SlowDown", "tried 3 times");
    expect(server.asked).to.have.length(3);
  });

  it("tells each refusal by its code, and does not repeat what cannot help", async () => {
    for (const [status, name, code] of [
      [403, "AccessDenied", "SKEP_STORE_DENIED"],
      [403, "InvalidAccessKeyId", "SKEP_STORE_DENIED"],
      [400, "ExpiredToken", "SKEP_STORE_DENIED"],
      [404, "NoSuchBucket", "SKEP_STORE_BUCKET_MISSING"],
      [507, "InsufficientStorage", "SKEP_STORE_FULL"],
      [403, "QuotaExceeded", "SKEP_STORE_FULL"],
      [507, "AnyName", "SKEP_STORE_FULL"],
      [403, "RequestTimeTooSkewed", "SKEP_STORE_CLOCK_SKEW"],
      [400, "AuthorizationHeaderMalformed", "SKEP_STORE_REGION"],
      [301, "PermanentRedirect", "SKEP_STORE_REGION"],
      [400, "EntityTooLarge", "SKEP_STORE_TOO_LARGE"],
      [400, "InvalidArgument", "SKEP_STORE_FAILED"],
      [501, "NotImplemented", "SKEP_STORE_FAILED"],
    ] as const) {
      const { server, store } = await rig.against([refuse(status, name)]);
      const error = await rejects(store.put("packs/a", Buffer.from("x")), code, true, "packs/a", server.endpoint, name);
      if (!name.startsWith("Invalid") && !name.startsWith("Not")) expect(error.hint, name).to.be.a("string");
      expect(server.asked, name).to.have.length(1);
    }
  });

  it("does not take a list of what was deleted that it may not have for an empty one", async () => {
    const { server, store } = await rig.against([refuse(403, "AccessDenied")]);
    await rejects(Array.fromAsync(store.listDeleted("runs/")), "SKEP_STORE_DENIED", true, "list versions of runs/");
    expect(server.asked[0]?.url).to.contain("versions");
  });

  it("counts damage on the way up as worth another try", async () => {
    const { server, store } = await rig.against([refuse(400, "XAmzContentSHA256Mismatch"), accept]);
    await store.put("a", Buffer.from("x"));
    expect(server.asked).to.have.length(2);
  });

  it("never says a credential, even where the server repeats it", async () => {
    const chatter = `your key ${credentials.accessKeyId} with ${credentials.secretAccessKey} and ${credentials.sessionToken}`;
    for (const answer of [refuse(403, "SignatureDoesNotMatch", chatter), refuse(503, chatter, chatter), hangUp]) {
      const { store } = await rig.against([answer]);
      const error = await thrownBy(store.put("a", Buffer.from("x")));
      const said = inspect(error, { depth: 20, showHidden: true }) + JSON.stringify(toErrorRecord(error));
      for (const secret of Object.values(credentials)) expect(said).to.not.include(secret);
    }
  });

  it("takes no body that is cut, damaged or of another length", async () => {
    const bytes = randomBytes(200_000);
    const crc = { "x-amz-meta-skep-crc32": crc32Of(bytes) };
    const flipped = Buffer.from(bytes);
    flipped[77_777] = (flipped[77_777] ?? 0) ^ 1;
    const bad: [Answer, string][] = [
      [cutAfter(bytes, 100_000), "SKEP_STORE_UNREACHABLE"],
      [cutAfter(bytes, 0), "SKEP_STORE_UNREACHABLE"],
      [body(flipped, crc), "SKEP_STORE_CORRUPT"],
      [body(bytes.subarray(1), crc), "SKEP_STORE_CORRUPT"],
    ];
    for (const [answer, code] of bad) {
      const once = await rig.against([answer, body(bytes, crc)]);
      expect(Buffer.from((await once.store.get("a", 200_000)) ?? "none").equals(bytes)).to.be.true;
      const always = await rig.against([answer]);
      await rejects(always.store.get("a", 200_000), code, false, "a", "tried 3 times");
      expect(always.server.asked).to.have.length(3);
    }
  });

  it("does not load what is larger than allowed, announced or not", async () => {
    const { store } = await rig.against([body(randomBytes(1000))]);
    await rejects(store.get("a", 999), "SKEP_STORE_TOO_LARGE", true);
    const endless = await rig.against([
      (response) => {
        const write = (): void => {
          if (response.destroyed) return;
          response.write(randomBytes(1000));
          setImmediate(write);
        };
        write();
      },
    ]);
    await rejects(endless.store.get("a", 100_000), "SKEP_STORE_TOO_LARGE", true);
  });

  it("takes no other range than the one it asked for", async () => {
    const wrong: Answer[] = [
      body(randomBytes(100)), // 200: the whole
      body(randomBytes(10), { "content-range": "bytes 0-9/100" }, 206),
      body(randomBytes(9), { "content-range": "bytes 20-28/100" }, 206),
      body(randomBytes(11), { "content-range": "bytes 20-30/100" }, 206),
      body(randomBytes(10), { "content-range": "bytes */100" }, 206),
    ];
    for (const answer of wrong) {
      const { store } = await rig.against([answer]);
      await rejects(store.getRange("a", 20, 30), "SKEP_STORE_CORRUPT", false, "a");
    }
    const right = await rig.against([body(randomBytes(10), { "content-range": "bytes 20-29/100" }, 206)]);
    expect((await right.store.getRange("a", 20, 30))?.length).to.equal(10);
    const beyond = await rig.against([refuse(416, "InvalidRange")]);
    expect((await beyond.store.getRange("a", 200, 210))?.length).to.equal(0);
  });

  it("knows its own creation again when the answer to it was lost", async () => {
    let token = "";
    const takeAndHangUp: Answer = (response, { headers }) => {
      token = String(headers["x-amz-meta-skep-put"]);
      response.destroy();
    };
    const ours: Answer = (response) => {
      const headers = { "x-amz-meta-skep-put": token, "content-length": "1", "x-amz-version-id": "v7" };
      response.writeHead(200, headers).end();
    };
    const nothingThere = [bare(404), xml("<ListBucketResult/>")];
    const taken = refuse(412, "PreconditionFailed");
    const mine = await rig.against([...nothingThere, takeAndHangUp, taken, ours]);
    expect(await mine.store.putIfAbsent("a", Buffer.from("x"))).to.deep.equal({ sizeBytes: 1, versionId: "v7" });
    expect(mine.server.asked.map(({ method }) => method)).to.deep.equal(["HEAD", "GET", "PUT", "PUT", "HEAD"]);

    const theirs = bare(200, { "x-amz-meta-skep-put": "other", "content-length": "1" });
    const lost = await rig.against([...nothingThere, takeAndHangUp, taken, theirs]);
    expect(await lost.store.putIfAbsent("a", Buffer.from("x"))).to.equal(null);
    const atOnce = await rig.against([...nothingThere, taken]);
    expect(await atOnce.store.putIfAbsent("a", Buffer.from("x"))).to.equal(null);
    expect(atOnce.server.asked).to.have.length(3);
  });

  it("looks first and then puts, where the server knows no conditional puts", async () => {
    const absent = [bare(404), xml("<ListBucketResult/>")];
    const { server, store } = await rig.against([
      ...absent,
      refuse(501, "NotImplemented"),
      accept,
      ...absent,
      accept,
      bare(200, { "content-length": "1" }),
    ]);
    expect(await store.putIfAbsent("a", Buffer.from("x"))).to.not.equal(null);
    expect(await store.putIfAbsent("b", Buffer.from("x"))).to.not.equal(null);
    expect(await store.putIfAbsent("b", Buffer.from("x"))).to.equal(null);
    const conditional = server.asked.map(({ headers }) => headers["if-none-match"] === "*");
    expect(conditional).to.deep.equal([false, false, true, false, false, false, false, false]);
  });

  it("asks by a list why a look was refused, as a HEAD's answer cannot say", async () => {
    const cases = [
      [bare(404), refuse(404, "NoSuchBucket"), "SKEP_STORE_BUCKET_MISSING"],
      [bare(403), refuse(403, "SignatureDoesNotMatch"), "SKEP_STORE_DENIED"],
      [bare(403), xml("<ListBucketResult/>"), "SKEP_STORE_DENIED"],
    ] as const;
    for (const [head, list, code] of cases) {
      const { store } = await rig.against([head, list]);
      await rejects(store.head("a"), code, true, "look at a");
    }
    const mayNotList = await rig.against([bare(404), refuse(403, "AccessDenied")]);
    expect(await mayNotList.store.head("a")).to.equal(null);
  });

  it("deletes again only what was refused for now, and names what was refused for good", async () => {
    const failed = (...keys: [string, string][]): Answer =>
      xml(
        `<DeleteResult>${keys
          .map(([key, code]) => `<Error><Key>swarm-a/${key}</Key><Code>${code}</Code><Message>no</Message></Error>`)
          .join("")}</DeleteResult>`,
      );
    const { server, store } = await rig.against([
      failed(["b", "InternalError"], ["c", "AccessDenied"], ["d", "AccessDenied"]),
      failed(),
    ]);
    await rejects(store.delete(["a", "b", "c", "d"]), "SKEP_STORE_DENIED", true, "2 of 4", "c, d");
    expect(server.asked).to.have.length(2);
    expect(server.asked[1]?.body.toString().match(/<Key>[^<]*/g)).to.deep.equal(["<Key>swarm-a/b"]);
    const stubborn = await rig.against([failed(["b", "InternalError"])]);
    await rejects(stubborn.store.delete(["a", "b"]), "SKEP_STORE_FAILED", false, "delete b");
  });

  it("skips what is not ours in a list, and leaves a list that goes in circles", async () => {
    const found = (key: string): string =>
      `<Contents><Key>${key}</Key><Size>1</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>`;
    const page = (keys: string[], next: string): string =>
      `<ListBucketResult><IsTruncated>${String(next !== "")}</IsTruncated>${keys.map(found).join("")}` +
      `<NextContinuationToken>${next}</NextContinuationToken></ListBucketResult>`;
    const { store } = await rig.against([
      xml(page(["swarm-a/a", "swarm-a/Not%20Ours", "swarm-a/b/", "else/x", "swarm-a/%ff"], "1")),
      xml(page(["swarm-a%2Fc"], "")),
    ]);
    expect((await collect(store.list(""))).map(({ key }) => key)).to.deep.equal(["a", "c"]);
    const circle = await rig.against([xml(page(["swarm-a/a"], "1"))]);
    await rejects(collect(circle.store.list("")), "SKEP_STORE_FAILED", true, "list");
  });
});
