import { expect } from "chai";

import { parseEngineAddress } from "../../../controller/engine/address.ts";
import { nameOfAddress, toEngineError } from "../../../controller/engine/docker.ts";
import { SkepError } from "../../../shared/errors.ts";

const read = (path: string): Promise<string> => Promise.resolve(`text of ${path}`);

describe("the engine that an operator names", () => {
  it("is --docker's, else DOCKER_HOST's, else this machine's", async () => {
    const name = async (asked: string | undefined, environment = {}): Promise<string> =>
      nameOfAddress(await parseEngineAddress(asked, environment, read));
    expect(await name(undefined)).to.equal("unix:///var/run/docker.sock");
    expect(await name(undefined, { DOCKER_HOST: "tcp://m1:80" })).to.equal("tcp://m1:80");
    expect(await name("/run/x.sock", { DOCKER_HOST: "tcp://m1" })).to.equal("unix:///run/x.sock");
    expect(await name("unix:///run/x.sock")).to.equal("unix:///run/x.sock");
    expect(await name("tcp://[fd00::1]:2376")).to.equal("tcp://[fd00::1]:2376");
    expect(await name("tcp://10.0.0.1")).to.equal("tcp://10.0.0.1:2375");
  });

  it("is spoken to over TLS where Docker's variables say so", async () => {
    const environment = { DOCKER_HOST: "tcp://m1", DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: "/certs" };
    expect(await parseEngineAddress(undefined, environment, read)).to.deep.equal({
      kind: "tcp",
      host: "m1",
      port: 2376,
      tls: { ca: "text of /certs/ca.pem", cert: "text of /certs/cert.pem", key: "text of /certs/key.pem" },
    });
  });

  it("is refused where it is none", async () => {
    for (const wrong of ["m1", "http://m1", "tcp://", "tcp://m1:0", "tcp://m1:70000", "tcp://u@m1", "tcp://m1/path"]) {
      const error = await parseEngineAddress(wrong, {}, read).catch((thrown: unknown) => thrown);
      expect(error, wrong).to.be.instanceOf(SkepError).with.property("code", "SKEP_ENGINE_ADDRESS");
    }
  });

  it("says by code what went wrong", () => {
    const code = (statusCode: number | undefined, message: string): string =>
      toEngineError(Object.assign(new Error(message), { statusCode }), "GET /x", "unix:///x").code;
    expect(code(undefined, "connect ENOENT")).to.equal("SKEP_ENGINE_UNREACHABLE");
    expect(code(503, "This node is not a swarm manager.")).to.equal("SKEP_ENGINE_NOT_MANAGER");
    expect(code(404, "no such service")).to.equal("SKEP_ENGINE_NOT_FOUND");
    expect(code(500, "rpc error: update out of sequence")).to.equal("SKEP_ENGINE_CONFLICT");
    expect(code(409, "name conflicts with an existing object: secret x already exists")).to.equal(
      "SKEP_ENGINE_CONFLICT",
    );
    expect(code(400, "invalid")).to.equal("SKEP_ENGINE_REFUSED");
  });
});
