// What the settings of a store and the rights of its users do on a real server (Ceph).
import {
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import dns from "node:dns";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { StoreCredentials, StoreLocation } from "../../shared/store/location.ts";
import { openStore, s3Settings } from "../../shared/store/open.ts";
import { defaultPatience, S3Store } from "../../shared/store/s3-store.ts";
import type { Store } from "../../shared/store/store.ts";
import { Lab } from "../lab/lab.ts";
import { s3HostName } from "../lab/s3.ts";
import { collect, rejects } from "../shared/store/suite.ts";

describe("the settings of a store, on a real server", () => {
  let lab: Lab;
  let owner: StoreCredentials;
  let client: S3Client;
  const opened: Store[] = [];

  before(async function () {
    this.timeout(300_000);
    lab = await Lab.up({ s3: true });
    owner = await lab.s3.credentials();
    client = lab.s3.client(owner);
  });
  after(async () => {
    client.destroy();
    await lab.down();
  });
  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
  });

  async function open(
    bucket: string,
    more: Partial<StoreLocation> = {},
    credentials: StoreCredentials = owner,
  ): Promise<Store> {
    const caPem = await lab.s3.authority();
    const location = { url: `s3://${bucket}/swarm-a`, endpoint: lab.s3.tlsEndpoint, caPem, ...more };
    const store = openStore(location, credentials);
    opened.push(store);
    return store;
  }
  const text = async (store: Store, key: string): Promise<string> =>
    Buffer.from((await store.get(key, 100)) ?? "").toString();

  it("trust the authority that signed the server's certificate, and no other", async () => {
    await lab.s3.createBucket("tls");
    const store = await open("tls");
    await store.put("a", Buffer.from("over TLS"));
    expect(await text(store, "a")).to.equal("over TLS");
    const location = { url: "s3://tls/swarm-a", endpoint: lab.s3.tlsEndpoint };
    const hasty = { ...defaultPatience, attempts: 1 };
    const distrusting = new S3Store(s3Settings(location, { bucket: "tls", prefix: "swarm-a" }), owner, hasty);
    opened.push(distrusting);
    await rejects(distrusting.get("a", 100), "SKEP_STORE_TLS", true, lab.s3.tlsEndpoint);
  });

  it("address the bucket by host name", async () => {
    await lab.s3.createBucket("by-name");
    const asked: string[] = [];
    const { lookup } = dns;
    const resolve = (name: string, options: { all?: boolean }, done: (...answer: unknown[]) => void): void => {
      asked.push(name);
      const address = lab.s3.address;
      if (options.all === true) done(null, [{ address, family: 4 }]);
      else done(null, address, 4);
    };
    dns.lookup = resolve as typeof dns.lookup;
    try {
      const store = await open("by-name", { endpoint: lab.s3.namedEndpoint, pathStyle: false });
      await store.put("a", Buffer.from("by name"));
      expect(await text(store, "a")).to.equal("by name");
      expect((await collect(store.list(""))).map(({ key }) => key)).to.deep.equal(["a"]);
      expect(await store.probe()).to.include({ conditionalWrites: true, deletes: true });
      await store.delete(["a"]);
    } finally {
      dns.lookup = lookup;
    }
    expect(new Set(asked)).to.deep.equal(new Set([`by-name.${s3HostName}`]));
  });

  it("encrypt at rest with a key that goes along, without which nothing comes back", async () => {
    await lab.s3.createBucket("own-key");
    const customerKey = randomBytes(32).toString("base64");
    const encryption = { type: "customer" } as const;
    const store = await open("own-key", { encryption }, { ...owner, customerKey });
    await store.put("a", Buffer.from("under a key"));
    expect(await text(store, "a")).to.equal("under a key");
    expect(Buffer.from((await store.getRange("a", 6, 11)) ?? "").toString()).to.equal("a key");
    expect(await store.head("a")).to.include({ sizeBytes: 11 });
    expect(await store.putIfAbsent("a", Buffer.from("other"))).to.equal(null);
    expect((await store.probe()).conditionalWrites).to.be.true;
    const strange = await open(
      "own-key",
      { encryption },
      { ...owner, customerKey: randomBytes(32).toString("base64") },
    );
    for (const act of [() => strange.get("a", 100), () => strange.head("a")]) {
      const error = await act().then(
        () => expect.fail("it came back"),
        (thrown: unknown) => thrown as Error & { code: string },
      );
      expect(error.code).to.match(/^SKEP_STORE_(DENIED|FAILED)$/);
      expect(error.message).to.not.include(customerKey);
    }
    await rejects((await open("own-key")).get("a", 100), "SKEP_STORE_FAILED", true, "get a");
  });

  it("put into the storage class that was named", async () => {
    await lab.s3.addStorageClass("COLD");
    await lab.s3.createBucket("classes");
    await (await open("classes", { storageClass: "COLD" })).put("a", Buffer.from("cold"));
    await (await open("classes")).put("b", Buffer.from("not"));
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: "classes" }));
    expect(Contents.map(({ StorageClass }) => StorageClass)).to.deep.equal(["COLD", "STANDARD"]);
  });

  it("leave no multipart upload behind, and touch none of others", async () => {
    await lab.s3.createBucket("parts");
    const Key = "swarm-a/packs/of-others";
    await client.send(new CreateMultipartUploadCommand({ Bucket: "parts", Key }));
    const store = await open("parts");
    await store.put("a", randomBytes(24 * 1024 * 1024));
    await store.probe();
    await store.delete(["a"]);
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: "parts" }));
    expect(Uploads.map((upload) => upload.Key)).to.deep.equal([Key]);
  });

  it("lets agents create and nothing else, a reader read, and the controller work", async () => {
    const users = ["controller", "agents", "reader"] as const;
    await lab.s3.createBucket("backups", { versioning: true });
    for (const user of users) await lab.s3.createUser(user);
    const page = await readFile(join(import.meta.dirname, "../../docs/STORES.md"), "utf8");
    const shown = /^The policy of a Ceph bucket[^]*?```json\n([^]*?)```/m.exec(page)?.[1] ?? expect.fail("no policy");
    const Policy = shown.replaceAll("BUCKET", "backups").replaceAll("user/owner", "user/full");
    await client.send(new PutBucketPolicyCommand({ Bucket: "backups", Policy }));
    const location = { url: "s3://backups/swarm-a", endpoint: lab.s3.endpoint };
    const [controller, agents, reader] = await Promise.all(
      users.map(async (user) => openStore(location, await lab.s3.credentials(user))),
    );
    if (controller === undefined || agents === undefined || reader === undefined) return expect.fail("no store");
    try {
      await agents.put("packs/a", Buffer.from("by an agent"));
      await rejects(agents.get("packs/a", 100), "SKEP_STORE_DENIED", true, "packs/a");
      await rejects(agents.delete(["packs/a"]), "SKEP_STORE_DENIED", true, "packs/a");
      expect((await agents.probe()).destroys).to.be.false;
      await controller.put("runs/a", Buffer.from("by the controller"));
      expect((await collect(controller.list(""))).map(({ key }) => key)).to.include.members(["packs/a", "runs/a"]);
      for (const [key, text] of [
        ["packs/a", "by an agent"],
        ["runs/a", "by the controller"],
      ] as const) {
        for (const store of [controller, reader]) {
          expect(Buffer.from((await store.get(key, 100)) ?? "").toString()).to.equal(text);
        }
      }
      await rejects(reader.put("packs/b", Buffer.from("x")), "SKEP_STORE_DENIED", true, "packs/b");
      await controller.delete(["packs/a"]);
      expect(await controller.head("packs/a")).to.equal(null);
      expect((await controller.probe()).destroys).to.be.false;
    } finally {
      await Promise.all([controller, agents, reader].map((store) => store.close()));
    }
  });
});
