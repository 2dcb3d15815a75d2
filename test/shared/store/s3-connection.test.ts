// How the S3 store meets a server that is silent, slow, not there, or not the one that its location means; and how it stops.
import { randomBytes } from "node:crypto";
import { expect } from "chai";
import { generate } from "selfsigned";
import { S3Store } from "../../../shared/store/s3-store.ts";
import { accept, fallSilent, LyingServer, refuse, type Answer } from "./lying-server.ts";
import { credentials, patience, S3Rig, settings } from "./s3-rig.ts";
import { rejects, thrownBy } from "./suite.ts";

describe("an S3 store before a server that is slow, silent or another", () => {
  const rig = new S3Rig();
  afterEach(() => rig.close());

  it("does not wait for ever for a server that falls silent", async () => {
    const { server, store } = await rig.against([fallSilent], { patience: { attempts: 2 } });
    await rejects(store.put("a", Buffer.from("x")), "SKEP_STORE_UNREACHABLE", false, "put a", "tried 2 times");
    expect(server.asked).to.have.length(2);
    const halfWay = await rig.against(
      [
        (response) => {
          response.writeHead(200, { "content-length": "100" });
          response.write("half");
        },
      ],
      { patience: { attempts: 1 } },
    );
    await rejects(halfWay.store.get("a", 100), "SKEP_STORE_UNREACHABLE", false, "get a");
  });

  it("does not wait for ever for a server that trickles", async () => {
    const trickle: Answer = (response) => {
      response.writeHead(200, { "content-length": "100000" });
      const timer = setInterval(() => response.write("."), 20);
      response.on("close", () => {
        clearInterval(timer);
      });
    };
    const { store } = await rig.against([trickle], { patience: { attempts: 1, requestMs: 400 } });
    await rejects(store.get("a", 100_000), "SKEP_STORE_UNREACHABLE", false, "gave up to get a");
  });

  it("stops at once when told to: waiting for an answer, for bytes, in a pause, in line for a slot", async () => {
    const half: Answer = (response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("half");
    };
    const long = { settings: { idleMs: 60_000 }, patience: { firstPauseMs: 120_000, longestPauseMs: 120_000 } };
    for (const answer of [fallSilent, half, refuse(503, "SlowDown")]) {
      const { server, store } = await rig.against([answer], long);
      const controller = new AbortController();
      const reason = new Error("stop");
      const gets = [1, 2, 3, 4].map((id) => thrownBy(store.get(`a${id}`, 100, controller.signal)));
      while (server.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
      await new Promise((resolve) => setTimeout(resolve, 20));
      const abortedAtMs = performance.now();
      controller.abort(reason);
      expect(await Promise.all(gets)).to.deep.equal([reason, reason, reason, reason]);
      // Of a minute of silence, or two of a pause.
      expect(performance.now() - abortedAtMs).to.be.below(5000);
    }
  });

  it("has no more requests under way than it may", async () => {
    let underWay = 0;
    let most = 0;
    const slowly: Answer = (response, asked) => {
      most = Math.max(most, ++underWay);
      setTimeout(() => {
        underWay--;
        accept(response, asked);
      }, 10);
    };
    const { server, store } = await rig.against([slowly]);
    await Promise.all(Array.from({ length: 20 }, (_, id) => store.put(`a${id}`, Buffer.from("x"))));
    expect(server.asked).to.have.length(20);
    expect(most).to.equal(2);
  });

  it("trusts a server by the authority that its location names, and no other", async () => {
    const { cert, private: key } = await generate([{ name: "commonName", value: "store" }], {
      extensions: [
        { name: "basicConstraints", cA: true },
        { name: "subjectAltName", altNames: [{ type: 7, ip: "127.0.0.1" }] },
      ],
    });
    const server = await LyingServer.start([accept], { key, cert });
    rig.closing.push(() => server.close());
    const open = (ca: string | null): S3Store => {
      const store = new S3Store({ ...settings, endpoint: server.endpoint, ca }, credentials, patience);
      rig.closing.unshift(() => store.close());
      return store;
    };
    await open(cert).put("a", randomBytes(3_000_000));
    await rejects(open(null).put("a", Buffer.from("x")), "SKEP_STORE_TLS", true, server.endpoint);
    expect(server.asked).to.have.length(1);
    const plain = new S3Store(
      { ...settings, endpoint: server.endpoint.replace("https", "http") },
      credentials,
      patience,
    );
    rig.closing.unshift(() => plain.close());
    await rejects(plain.put("a", Buffer.from("x")), "SKEP_STORE_UNREACHABLE", false);
  });

  it("says that nobody listens, and that a host is unknown", async () => {
    const gone = await LyingServer.start([accept]);
    await gone.close();
    for (const [endpoint, errno] of [
      [gone.endpoint, /ECONNREFUSED/],
      ["http://store.invalid", /ENOTFOUND|EAI_AGAIN/],
    ] as const) {
      const store = new S3Store({ ...settings, endpoint }, credentials, patience);
      rig.closing.push(() => store.close());
      const error = await rejects(store.put("a", Buffer.from("x")), "SKEP_STORE_UNREACHABLE", false, endpoint);
      expect(error.message).to.match(errno);
    }
  });
});
