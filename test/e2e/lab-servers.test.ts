import { GetObjectCommand, PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { expect } from "chai";
import { Redis } from "ioredis";
import { Lab } from "../lab/lab.ts";
import { FaultyProxy } from "../lab/proxy.ts";
import { RedisServer } from "../lab/redis.ts";

async function connected(server: RedisServer): Promise<Redis> {
  return new Redis({ ...(await server.address()), maxRetriesPerRequest: 20 });
}

describe("the lab's servers", () => {
  let lab: Lab;
  let client: S3Client;

  before(async () => {
    lab = await Lab.up({ nodes: 1, s3: true, redis: true });
    await lab.s3.createBucket("bucket");
    client = lab.s3.client(await lab.s3.credentials());
    await client.send(new PutObjectCommand({ Bucket: "bucket", Key: "before", Body: "kept" }));
  });
  after(async () => {
    client.destroy();
    await lab.down();
  });

  async function get(from: S3Client, key: string): Promise<string> {
    const answer = await from.send(new GetObjectCommand({ Bucket: "bucket", Key: key }));
    return (await answer.Body?.transformToString()) ?? "";
  }

  it("S3 is reached by the nodes", async () => {
    const { hostname, port } = new URL(lab.s3.endpoint);
    const { stdout } = await lab.node(0).exec(["busybox", "nc", "-w", "5", hostname, port], {
      input: "GET / HTTP/1.0\r\n\r\n",
    });
    expect(stdout).to.match(/^HTTP\/1\.[01] /);
  });

  it("S3 keeps its objects over a clean stop", async () => {
    await lab.s3.stop();
    await lab.s3.start();
    expect(await get(client, "before")).to.equal("kept");
  });

  it("S3 hangs while it is suspended and answers afterwards", async () => {
    await lab.s3.suspend();
    const asked = get(client, "before");
    const waited = new Promise((resolve) => setTimeout(resolve, 500, "no answer"));
    expect(await Promise.race([asked, waited])).to.equal("no answer");
    await lab.s3.resume();
    expect(await asked).to.equal("kept");
  });

  it("S3 has users who may write and can't read", async () => {
    const agent = lab.s3.client(await lab.s3.createUser("agent"));
    await lab.s3.allow("bucket", ["agent"], ["s3:PutObject"]);
    await agent.send(new PutObjectCommand({ Bucket: "bucket", Key: "written", Body: "by the agent" }));
    const refused = await get(agent, "written").catch((error: unknown) => error as Error);
    agent.destroy();
    expect(refused).to.be.instanceOf(Error).with.property("name", "AccessDenied");
    expect(await get(client, "written")).to.equal("by the agent");
  });

  it("a slow line stands between S3 and who asks for it", async () => {
    const { hostname, port } = new URL(lab.s3.endpoint);
    const proxy = await FaultyProxy.to({ host: hostname, port: Number(port) }, lab.hostAddress);
    proxy.faults.latencyMs = 300;
    const startedMs = performance.now();
    const answer = await fetch(`http://${proxy.host}:${proxy.port}/`);
    await answer.arrayBuffer();
    expect(performance.now() - startedMs).to.be.greaterThan(590);
    await proxy.close();
  });

  it("Redis keeps what it acknowledged when it is killed", async () => {
    const redis = await connected(lab.redis);
    await redis.set("key", "value");
    await lab.redis.kill();
    expect(lab.redis.isRunning).to.be.false;
    await lab.redis.start();
    expect(await redis.get("key")).to.equal("value");
    expect(await redis.config("GET", "maxmemory-policy")).to.deep.equal(["maxmemory-policy", "noeviction"]);
    redis.disconnect();
  });

  it("Redis refuses whoever does not know the password", async () => {
    const redis = new Redis({ ...(await lab.redis.address()), password: "wrong", retryStrategy: () => null });
    redis.on("error", () => undefined);
    const refused = await redis.ping().catch((error: unknown) => error as Error);
    expect(refused).to.be.instanceOf(Error);
    redis.disconnect();
  });

  it("Redis also stands alone", async () => {
    const server = await RedisServer.alone();
    const redis = await connected(server);
    expect(await redis.ping()).to.equal("PONG");
    redis.disconnect();
    await server.remove();
    expect(server.isRunning).to.be.false;
  });
});
