import { createServer, type Server } from "node:http";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { expect } from "chai";
import { connectDocker, toDockerError } from "../../agent/docker.ts";
import { SkepError } from "../../shared/errors.ts";

describe("the door to Docker", () => {
  it("names the socket and what to check when no engine answers", async () => {
    const error: unknown = await connectDocker("/nowhere/docker.sock")
      .info()
      .catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: "SKEP_DOCKER_UNREACHABLE", permanent: false });
    expect(error).to.have.property("message").that.contains("/nowhere/docker.sock").and.contains("ENOENT");
  });

  it("turns Docker's answers into codes", () => {
    const code = (statusCode: number, message: string): string =>
      toDockerError(
        Object.assign(new Error(`(HTTP code ${statusCode}) x - ${message}`), { statusCode }),
        "GET /x",
        "/s",
      ).code;
    expect(code(503, "This node is not a swarm manager.")).to.equal("SKEP_DOCKER_NOT_MANAGER");
    expect(code(404, "no such volume")).to.equal("SKEP_DOCKER_NOT_FOUND");
    expect(code(409, "volume is in use")).to.equal("SKEP_DOCKER_CONFLICT");
    expect(code(500, "rpc error: code = Unknown desc = update out of sequence")).to.equal("SKEP_DOCKER_CONFLICT");
    for (const said of ["Unknown desc = context canceled", "Unavailable desc = transport is closing"]) {
      expect(code(500, `rpc error: code = ${said}`)).to.equal("SKEP_DOCKER_MANAGER_STOPPED");
    }
    expect(code(500, "boom")).to.equal("SKEP_DOCKER_FAILED");
  });

  describe("with something else at the socket", () => {
    let folder: string;
    let server: Server;
    let answer: string;
    beforeEach(async () => {
      folder = mkdtempSync(join(tmpdir(), "skep-docker-"));
      server = createServer((_request, response) => {
        if (answer === "hang") return;
        if (answer === "breaks off") {
          response.writeHead(200, { "content-type": "application/json" }).write('{"stream": "Loading"}\n', () => {
            response.destroy();
          });
          return;
        }
        response.writeHead(200, { "content-type": "application/json" }).end(answer);
      });
      await new Promise<void>((resolve) => server.listen(join(folder, "s"), resolve));
    });
    afterEach(() => {
      server.closeAllConnections();
      server.close();
      rmSync(folder, { recursive: true });
    });

    it("refuses an answer of another shape", async () => {
      answer = '{"Volumes": [{"Name": 7}]}';
      const error: unknown = await connectDocker(join(folder, "s"))
        .volumes()
        .catch((thrown: unknown) => thrown);
      expect(error).to.include({ code: "SKEP_DOCKER_ANSWER_INVALID" });
    });

    it("names why an image was not loaded: its content's own fault, or an engine that breaks off", async () => {
      const load = async (content: Readable): Promise<unknown> =>
        connectDocker(join(folder, "s"))
          .loadImage(content, new AbortController().signal)
          .catch((thrown: unknown) => thrown);
      answer = "breaks off";
      expect(await load(Readable.from([Buffer.alloc(10)]))).to.have.property("code", "SKEP_DOCKER_FAILED");
      answer = "hang";
      const fault = new SkepError({ code: "SKEP_STORE_UNFIT", message: "away", permanent: false });
      const failing = new Readable({
        read() {
          this.destroy(fault);
        },
      });
      expect(await load(failing)).to.equal(fault);
    });

    it("stops waiting when it is aborted", async () => {
      answer = "hang";
      const reason = new Error("enough");
      const controller = new AbortController();
      setTimeout(() => {
        controller.abort(reason);
      }, 20);
      const error: unknown = await connectDocker(join(folder, "s"))
        .volumes(controller.signal)
        .catch((thrown: unknown) => thrown);
      expect(error).to.equal(reason);
    });
  });
});
