import { createServer, type Server } from "node:http";
import { mkdtempSync, rmSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { connectDocker } from "../../agent/docker.ts";

/** As the engine wraps what a program writes to its standard output. */
function frame(bytes: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt8(1, 0);
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}

const upgraded = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

describe("a program in a container", () => {
  let folder: string;
  let server: Server;
  /** What the engine does once it is asked to start the program. */
  let start: (connection: Duplex) => void;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-exec-"));
    server = createServer((request, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(request.method === "POST" ? '{"Id": "e1"}' : '{"Running": false, "ExitCode": 0}');
    });
    server.on("upgrade", (_request, connection) => {
      connection.on("error", () => undefined);
      start(connection);
    });
    await new Promise<void>((resolve) => server.listen(join(folder, "s"), resolve));
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  });
  const run = (
    onStdout: (bytes: Buffer) => Promise<void> | void,
    signal = new AbortController().signal,
  ): Promise<{ exitCode: number }> =>
    connectDocker(join(folder, "s")).exec({
      ...{ container: "c1", argv: ["dump"], user: null, stdin: null, onStdout, signal },
      onStderr: () => undefined,
    });

  it("writes no faster than what it writes is taken", async () => {
    const piece = Buffer.alloc(32 * 1024, 7);
    const pieces = 512;
    let written = 0;
    start = (connection) => {
      const write = async (): Promise<void> => {
        connection.write(upgraded);
        for (let at = 0; at < pieces; at++) {
          if (!connection.write(frame(piece))) await once(connection, "drain");
          written += piece.length;
        }
        connection.end();
      };
      void write();
    };
    let taken = 0;
    let most = 0;
    const { exitCode } = await run(async (bytes) => {
      await sleep(1);
      most = Math.max(most, written - taken);
      taken += bytes.length;
    });
    expect([exitCode, taken]).to.deep.equal([0, pieces * piece.length]);
    expect(most).to.be.below(2 * 1024 * 1024);
  });

  it("has not ended well where the connection breaks before the end of its output, whatever the engine says of it", async () => {
    let breakOff = (): void => expect.fail();
    start = (connection) => {
      breakOff = () => connection.destroy();
      connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      const bytes = frame(Buffer.from("half of it"));
      connection.write(Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]));
    };
    const error: unknown = await run(() => {
      breakOff();
    }).catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: "SKEP_DOCKER_FAILED", permanent: false });
    expect(error).to.have.nested.property("cause.code", "ECONNRESET");
  });

  it("is left alone as soon as it is aborted, while the engine has not even begun it", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    start = () => {
      controller.abort(reason);
    };
    expect(await run(() => undefined, controller.signal).catch((thrown: unknown) => thrown)).to.equal(reason);
  });
});
