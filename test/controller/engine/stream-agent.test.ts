import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { connect, type Socket } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { connectEngine } from "../../../controller/engine/docker.ts";
import { streamAgent } from "../../../controller/engine/stream-agent.ts";
import { SkepError } from "../../../shared/errors.ts";

describe("an engine behind streams", () => {
  let folder = "";
  let server: Server;
  let opened = 0;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "skep-stream-agent-"));
    server = createServer((request, response) => {
      response.setHeader("content-type", "application/json");
      if (request.headers["x-registry-auth"] !== undefined)
        response.end(JSON.stringify({ ID: request.headers["x-registry-auth"] }));
      else response.end(JSON.stringify([{ ID: "s1", Version: { Index: 7 }, Spec: { Name: "pw", Labels: {} } }]));
    });
    server.listen(join(folder, "socket"));
    await once(server, "listening");
  });
  after(async () => {
    server.close();
    await rm(folder, { recursive: true });
  });

  async function open(): Promise<Socket> {
    opened++;
    const socket = connect(join(folder, "socket"));
    await once(socket, "connect");
    return socket;
  }

  it("is asked over one stream by calls that come one after the other, with the registry's header as it is", async () => {
    const engine = await connectEngine({ kind: "agent", agent: streamAgent(open), name: "ssh://m1" });
    expect(await engine.list("secret")).to.deep.equal([
      { id: "s1", name: "pw", version: 7, spec: { Name: "pw", Labels: {} }, previousSpec: null },
    ]);
    expect(await engine.create("service", { Name: "x" }, "eyJ1c2VyIjoieCJ9")).to.equal("eyJ1c2VyIjoieCJ9");
    expect(opened).to.equal(1);
    await Promise.all([engine.list("secret"), engine.list("config"), engine.list("service")]);
    expect(opened).to.equal(3);
  });

  it("keeps a stream for its time, and notices one that ended meanwhile", async () => {
    const agent = streamAgent(open, 50);
    const engine = await connectEngine({ kind: "agent", agent, name: "ssh://m1" });
    const before = opened;
    await engine.list("secret");
    const closed = async (): Promise<void> => {
      const [kept] = Object.values(agent.freeSockets).flat();
      await once(kept ?? expect.fail("no stream was kept"), "close");
    };
    await closed();
    await engine.list("secret");
    expect(opened - before).to.equal(2);
    const ending = closed();
    server.closeAllConnections();
    await ending;
    await engine.list("secret");
    expect(opened - before).to.equal(3);
    agent.destroy();
  });

  it("is unreachable where no stream can be opened", async () => {
    const closed = streamAgent(() => Promise.reject(new Error("channel refused")));
    const engine = await connectEngine({ kind: "agent", agent: closed, name: "ssh://m1" });
    const error = await engine.list("secret").catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(SkepError).with.property("code", "SKEP_ENGINE_UNREACHABLE");
    expect((error as SkepError).message)
      .to.contain("ssh://m1")
      .and.to.contain("channel refused");
  });
});
