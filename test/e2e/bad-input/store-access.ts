// Faults of the way to the store: its keys, its bucket, its line.
import { CreateBucketCommand, DeleteBucketCommand, DeleteObjectsCommand, GetObjectCommand } from "@aws-sdk/client-s3";
import { ListObjectsV2Command, PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Run } from "../../../shared/repository/run.ts";
import { cliPath, type CliResult } from "../../controller/cli/run-cli.ts";
import { tryCommand } from "../../lab/command.ts";
import type { FaultyProxy } from "../../lab/proxy.ts";
import { errorOf, failureOf, partOf, readRun, type Host } from "./host.ts";

const bucket = "backups";
/** Its line is lost for good in the middle of a run. */
const lost = "lost";

export function storeAccess(getHost: () => Host): void {
  let host: Host;
  let client: S3Client;
  let first: Run;
  let tree: string;
  let lostLine: FaultyProxy;
  let givenUp: Promise<{ result: CliResult; seconds: number }>;
  before(async () => {
    host = getHost();
    client = host.lab.s3.client(await host.lab.s3.credentials());
    await host.initBucket(bucket);
    await host.newVolume("www", { "index.html": "<h1>hello</h1>", "pages/one": randomBytes(300_000) });
    tree = host.tree("www");
    first = await host.backupWhole(bucket, "www");
    // For most of its time this run only waits: it does so beside the other tests.
    lostLine = await host.newLine();
    await host.initBucket(lost, lostLine);
    await host.newVolume("photos", { a: randomBytes(48_000_000) });
    givenUp = loseLine();
    givenUp.catch(() => undefined); // its test looks at it
  });
  after(async () => {
    // Also where its test did not run: nobody writes into the folder once it is removed.
    await Promise.allSettled([givenUp]);
    await lostLine.close();
    client.destroy();
  });

  async function loseLine(): Promise<{ result: CliResult; seconds: number }> {
    const startedAt = performance.now();
    lostLine.faults.bytesPerSecond = 8_000_000;
    const running = host.skep(...host.backupArgv(lost, "photos"));
    await untilUploading(lostLine);
    await lostLine.refuse();
    lostLine.faults.bytesPerSecond = Infinity;
    return { result: await running, seconds: (performance.now() - startedAt) / 1000 };
  }

  const nothingLost = async (): Promise<void> => {
    await host.backupWhole(bucket, "www");
    expect(await host.restored(bucket, "www", first)).to.equal(tree);
  };

  it("refuses a wrong secret access key", async () => {
    const { accessKeyId } = await host.lab.s3.credentials();
    const wrong = await host.writeCredentials(
      "wrong-secret.json",
      accessKeyId,
      "thisIsNotTheSecretOfThatKey00000000000000",
    );
    const result = await host.skep(...host.backupArgv(bucket, "www", "--credentials", wrong));
    expect(result.code).to.equal(10);
    const error = failureOf(result);
    expect(error).to.include({ code: "SKEP_STORE_DENIED", permanent: true });
    expect(error.message).to.contain("s3://backups at http://").and.contain("secret access key");
    expect(error.hint).to.contain("secret access key");
  });

  it("refuses an access key id that is unknown", async () => {
    const { secretAccessKey } = await host.lab.s3.credentials();
    const wrong = await host.writeCredentials("wrong-id.json", "NOSUCHKEYID000000000", secretAccessKey);
    const result = await host.skep(...host.restoreArgv(bucket, "www", "--credentials", wrong));
    expect(result.code).to.equal(10);
    const error = failureOf(result);
    expect(error).to.include({ code: "SKEP_STORE_DENIED", permanent: true });
    expect(error.message).to.contain("s3://backups at http://").and.contain("access key id is unknown");
  });

  it("names a bucket that is not there", async () => {
    const result = await host.skep(...host.backupArgv(bucket, "www", ...host.bucketFlags("no-such-bucket")));
    expect(result.code).to.equal(10);
    const error = failureOf(result);
    expect(error).to.include({ code: "SKEP_STORE_BUCKET_MISSING", permanent: true });
    expect(error.message).to.contain("s3://no-such-bucket");
  });

  it("names a bucket that was deleted since the last run, and goes on once it is back from a copy", async () => {
    const copy = await takeObjects(client);
    await client.send(new DeleteBucketCommand({ Bucket: bucket }));
    const result = await host.skep(...host.backupArgv(bucket, "www"));
    expect(result.code).to.equal(10);
    const error = failureOf(result);
    expect(error).to.include({ code: "SKEP_STORE_BUCKET_MISSING", permanent: true });
    expect(error.message).to.contain("s3://backups");
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
    const empty = await host.skep(...host.backupArgv(bucket, "www"));
    expect(empty.code).to.equal(10);
    expect(failureOf(empty)).to.include({ code: "SKEP_REPOSITORY_MISSING" });
    for (const [Key, Body] of copy) await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));
    await nothingLost();
  });

  it("finishes a run when the store was stopped in the middle of an upload and came back", async () => {
    await host.newVolume("films", { a: randomBytes(24_000_000), b: randomBytes(24_000_000) });
    const films = host.tree("films");
    host.line.faults.bytesPerSecond = 8_000_000;
    const running = host.skep(...host.backupArgv(bucket, "films"));
    try {
      await untilUploading(host.line);
      await host.lab.s3.stop();
      host.line.faults.bytesPerSecond = Infinity;
      await host.lab.s3.start();
    } finally {
      host.line.faults.bytesPerSecond = Infinity;
    }
    const { code, run, stderr } = readRun(await running);
    expect(code, stderr).to.equal(0);
    expect(run.status).to.equal("done");
    expect(await host.restored(bucket, "films", run)).to.equal(films);
  });

  it("goes on where a store that hung in the middle of an upload answers again", async () => {
    await host.newVolume("songs", { a: randomBytes(48_000_000) });
    host.line.faults.bytesPerSecond = 8_000_000;
    const running = host.skep(...host.backupArgv(bucket, "songs"));
    try {
      await untilUploading(host.line);
      await host.lab.s3.suspend();
      host.line.faults.bytesPerSecond = Infinity;
      await sleep(2000);
    } finally {
      host.line.faults.bytesPerSecond = Infinity;
      await host.lab.s3.resume();
    }
    const { code, stderr } = readRun(await running);
    expect(code, stderr).to.equal(0);
  });

  it("gives up in bounded time when the store does not come back, and records nothing", async () => {
    const { result, seconds } = await givenUp;
    expect(result.code, result.stderr).to.equal(10);
    const error = failureOf(result);
    expect(error).to.include({ code: "SKEP_STORE_UNREACHABLE", permanent: false });
    expect(error.message).to.contain(`s3://${lost} at http://`).and.contain("connection");
    expect(seconds).to.be.lessThan(120);
    await lostLine.listen();
    const before = await host.skep("runs", "--from-store", "--kit", lost, "--json");
    expect(JSON.parse(before.stdout)).to.have.nested.property("runs.length", 0);
    await host.backupWhole(lost, "photos");
  });

  it("works on a slow line, and shows on a terminal how far it is", async () => {
    await host.newVolume("notes", { a: randomBytes(1_200_000) });
    host.line.faults.bytesPerSecond = 200_000;
    const argv = [process.execPath, cliPath, ...host.backupArgv(bucket, "notes")];
    const quoted = argv.map((text) => `'${text}'`).join(" ");
    const startedAt = performance.now();
    try {
      const result = await tryCommand(
        ["script", "--quiet", "--return", "--command", `stty rows 40 cols 120; ${quoted}`, "/dev/null"],
        {
          cwd: host.folder,
          env: { PATH: process.env["PATH"] ?? "", HOME: host.folder, TERM: "xterm", NO_COLOR: "1" },
        },
      );
      expect(result.code, result.stdout).to.equal(0);
      expect(performance.now() - startedAt).to.be.greaterThan(5_000);
      expect(result.stdout).to.match(/volume node1\/notes +(reading|storing), 1\.\d+ MiB, 1 file/);
    } finally {
      host.line.faults.bytesPerSecond = Infinity;
    }
  });

  it("says that the store's quota is used up, and loses nothing of what it has", async () => {
    await host.lab.s3.limit("full", 1);
    await host.newVolume("mail", { a: randomBytes(400_000) });
    try {
      const result = await host.skep(...host.backupArgv(bucket, "mail"));
      const error = result.stdout.includes('"run"') ? errorOf(partOf(readRun(result).run, "mail")) : failureOf(result);
      expect(error).to.include({ code: "SKEP_STORE_FULL", permanent: true });
      expect(error.message).to.contain("s3://backups");
      expect(result.code).to.equal(1);
    } finally {
      await host.lab.s3.limit("full", 1_000_000_000_000);
    }
    await host.backupWhole(bucket, "mail");
    await nothingLost();
  });

  /** Resolves when the first bytes of a pack have been on the line for a while: half of it is there at most. */
  async function untilUploading(line: FaultyProxy): Promise<void> {
    const deadline = Date.now() + 30_000;
    const from = line.passedBytes;
    while (line.passedBytes - from < 4_000_000) {
      if (Date.now() > deadline) throw new Error("nothing is uploaded");
      await sleep(20);
    }
  }
}

async function keys(client: S3Client, Prefix: string): Promise<string[]> {
  const { Contents } = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix }));
  return (Contents ?? []).map(({ Key }) => Key ?? "");
}

/** Every object, taken out of the bucket. */
async function takeObjects(client: S3Client): Promise<Map<string, Uint8Array>> {
  const taken = new Map<string, Uint8Array>();
  for (const Key of await keys(client, "")) {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
    taken.set(Key, (await Body?.transformToByteArray()) ?? new Uint8Array());
  }
  const Objects = [...taken.keys()].map((Key) => ({ Key }));
  await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects } }));
  return taken;
}
