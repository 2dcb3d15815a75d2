import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { SkepError } from "../../../shared/errors.ts";
import {
  parseCredentials,
  parseLocation,
  parseStoreUrl,
  type StoreCredentials,
} from "../../../shared/store/location.ts";
import { createStore, openStore, s3Settings } from "../../../shared/store/open.ts";

const credentials: StoreCredentials = { accessKeyId: "AKIAEXAMPLE", secretAccessKey: "wJalrEXAMPLEKEY" };
const pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

describe("a store's location", () => {
  it("is read from its URL", () => {
    expect(parseStoreUrl("s3://backups")).to.deep.equal({ kind: "s3", bucket: "backups", prefix: "" });
    expect(parseStoreUrl("s3://backups/")).to.deep.equal({ kind: "s3", bucket: "backups", prefix: "" });
    expect(parseStoreUrl("s3://my.backups/Swarm-A/2")).to.deep.equal({
      ...{ kind: "s3", bucket: "my.backups", prefix: "Swarm-A/2" },
    });
    expect(parseStoreUrl("file:///srv/skep%20store/x/../y")).to.deep.equal({ kind: "file", path: "/srv/skep store/y" });
  });

  it("is refused when the URL is anything else, credentials in it above all", () => {
    for (const url of [
      ...["", "backups", "http://host/bucket", "s3:", "s3://", "s3:///x", "s3://ab", "s3://a_b!/x", "s3://-x-/"],
      ...["s3://key:secret@backups/x", "s3://backups:9000/x", "s3://backups/x?secret=1", "s3://backups/x#y"],
      ...["s3://backups/a//b", "s3://backups/a b", "s3://backups/.hidden", `s3://backups/${"a".repeat(401)}`],
      ...["file://host/srv", "file:srv", "file:/srv", "file:///a%2fb", "file:///a%00b", "srv/store", "/srv/store"],
    ]) {
      expect(parseStoreUrl(url), url).to.equal(null);
    }
  });

  it("reports all its faults at once", () => {
    const error = thrown(() =>
      parseLocation({ url: "s3://x", endpoint: "https://u:p@host/path", parallel: 0, caFile: "relative", colour: 1 }),
    );
    expect(error.code).to.equal("SKEP_STORE_LOCATION");
    for (const name of ["url", "endpoint", "parallel", "caFile", "colour"]) expect(error.message).to.include(name);
    expect(error.message).to.not.include("u:p");
  });

  it("takes one CA, not two, and nothing of S3 for a folder", () => {
    const both = { url: "s3://backups", caFile: "/ca.pem", caPem: pem };
    expect(thrown(() => parseLocation(both)).message).to.include("caPem");
    const folder = { url: "file:///srv/store", endpoint: "https://host", region: "eu" };
    expect(thrown(() => parseLocation(folder)).message).to.match(/endpoint.*region/);
  });

  it("fills in what is left out: AWS by region, and path style for others", () => {
    const url = { bucket: "backups", prefix: "" };
    expect(s3Settings({ url: "s3://backups", region: "eu-central-1" }, url)).to.include({
      ...{ endpoint: "https://s3.eu-central-1.amazonaws.com", pathStyle: false, connections: 8 },
    });
    expect(s3Settings({ url: "s3://backups", region: "cn-north-1" }, url)).to.include({
      endpoint: "https://s3.cn-north-1.amazonaws.com.cn",
    });
    expect(s3Settings({ url: "s3://backups", endpoint: "https://host:9000/" }, url)).to.include({
      ...{ endpoint: "https://host:9000", pathStyle: true, region: "us-east-1" },
    });
    const virtual = { url: "s3://backups", endpoint: "https://host", pathStyle: false };
    expect(s3Settings(virtual, url).pathStyle).to.be.false;
  });

  it("opens what it names, and says what is missing", async () => {
    const scratch = await mkdtemp(join(tmpdir(), "skep-store-"));
    try {
      const folder = await createStore({ url: `file://${scratch}/new/store` }, null);
      await folder.put("a", Buffer.from("x"));
      expect(folder.address).to.equal(`file://${scratch}/new/store`);
      const bucket = openStore({ url: "s3://backups/swarm-a", endpoint: "https://host" }, credentials);
      expect(bucket.address).to.equal("s3://backups/swarm-a at https://host");
      await bucket.close();
      expect(thrown(() => openStore({ url: "s3://backups" }, null)).code).to.equal("SKEP_STORE_CREDENTIALS");
      const noCa = { url: "s3://backups", caFile: join(scratch, "none.pem") };
      expect(thrown(() => openStore(noCa, credentials)).message).to.include("none.pem");
      await writeFile(join(scratch, "not.pem"), "hello");
      const badCa = { url: "s3://backups", caFile: join(scratch, "not.pem") };
      expect(thrown(() => openStore(badCa, credentials)).message).to.include("no PEM");
    } finally {
      await rm(scratch, { recursive: true });
    }
  });

  it("has credentials that are checked without being quoted", () => {
    expect(parseCredentials(credentials)).to.deep.equal(credentials);
    const error = thrown(() =>
      parseCredentials({ accessKeyId: "id\n", secretAccessKey: "with space", extra: "s3cr3t" }),
    );
    expect(error.code).to.equal("SKEP_STORE_CREDENTIALS");
    expect(error.message).to.match(/accessKeyId.*secretAccessKey/);
    // 44 characters, and 33 bytes.
    const long = Buffer.alloc(33, 1).toString("base64");
    expect(thrown(() => parseCredentials({ ...credentials, customerKey: long })).message).to.match(/customerKey.*32/);
    for (const value of ["with space", "s3cr3t"]) expect(error.message).to.not.include(value);
  });
});

function thrown(act: () => unknown): SkepError {
  try {
    act();
  } catch (error) {
    if (error instanceof SkepError) return error;
    throw error;
  }
  return expect.fail("nothing was thrown");
}
