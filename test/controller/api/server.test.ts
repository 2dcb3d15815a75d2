import { expect } from "chai";
import type { AddressInfo } from "node:net";
import { z } from "zod";
import type { Backend } from "../../../controller/api/backend.ts";
import { agentsSchema, healthSchema, runsSchema, runStartedSchema } from "../../../controller/api/schemas.ts";
import { makeApi } from "../../../controller/api/server.ts";
import { makeApiCertificate } from "../../../controller/cli/api-certificate.ts";
import { makeApiClient, type ApiCall, type ApiClient } from "../../../controller/cli/api-client.ts";
import { SkepError } from "../../../shared/errors.ts";
import { makeLogger } from "../../../shared/log.ts";

const token = "token-of-this-test";

/** Answers what a test gives; every other call fails it. */
function backendWith(answers: Partial<Backend>): Backend {
  const refuse = (name: string) => () => Promise.reject(new Error(`${name} was not to be called`));
  return new Proxy(answers, {
    get: (target, name: string) => (Reflect.get(target, name) as unknown) ?? refuse(name),
  }) as Backend;
}

describe("the API", () => {
  const answers: Partial<Backend> = {};
  let logged = "";
  let api: ReturnType<typeof makeApi>;
  let client: ApiClient;
  let stranger: ApiClient;

  before(async () => {
    const { keyAndCertificate: pem, certificate } = await makeApiCertificate(["localhost"], Date.now());
    const log = makeLogger("test", "info", { write: (line) => (logged += line) });
    api = makeApi({ backend: backendWith(answers), pem, token, log });
    await api.listen({ host: "127.0.0.1", port: 0 });
    const url = `https://127.0.0.1:${(api.server.address() as AddressInfo).port}`;
    client = makeApiClient({ urls: [url], token, certificatePem: certificate });
    stranger = makeApiClient({ urls: [url], token: `${token}x`, certificatePem: certificate });
  });
  after(() => api.close());

  async function errorOf(call: ApiCall<unknown>, by = client): Promise<SkepError> {
    try {
      await by.call(call);
    } catch (error) {
      if (error instanceof SkepError) return error;
      throw error;
    }
    return expect.fail("it answered");
  }

  it("tells its health to anybody", async () => {
    expect(await stranger.call({ path: "/v1/health", schema: healthSchema })).to.include({ ok: true });
  });

  it("tells nothing else without the token, not even what there is", async () => {
    answers.agents = () => Promise.resolve([]);
    const asked = await errorOf({ path: "/v1/agents", schema: agentsSchema }, stranger);
    expect(asked.code).to.equal("SKEP_API_UNAUTHORIZED");
    const absent = await errorOf({ path: "/v1/nothing", schema: z.unknown() }, stranger);
    expect(absent.code).to.equal("SKEP_API_UNAUTHORIZED");
  });

  it("answers with what the controller says", async () => {
    answers.agents = () => Promise.resolve([]);
    expect(await client.call({ path: "/v1/agents", schema: agentsSchema })).to.deep.equal({ agents: [] });
    answers.startRun = (schedule) => Promise.resolve(schedule === "nightly" ? "20261121-030000-abc123" : "x");
    const call = { method: "POST", path: "/v1/runs", schema: runStartedSchema, body: { schedule: "nightly" } } as const;
    expect(await client.call(call)).to.deep.equal({ runId: "20261121-030000-abc123" });
    answers.setPolicy = (yaml) => Promise.resolve({ version: 7, policy: yaml });
    const set = { method: "PUT", path: "/v1/policy", schema: z.unknown(), body: "version: 1\n" } as const;
    expect(await client.call(set)).to.deep.equal({ version: 7, policy: "version: 1\n" });
  });

  it("tells an error of the controller whole, with code and hint", async () => {
    const error = {
      code: "SKEP_RUN_IN_PROGRESS",
      message: "run x is under way",
      permanent: true,
      hint: "wait",
    } as const;
    answers.startRun = () => Promise.reject(new SkepError(error));
    const told = await errorOf({ method: "POST", path: "/v1/runs", schema: runStartedSchema, body: {} });
    expect(told).to.include(error);
  });

  it("refuses what has another shape, before anybody is asked", async () => {
    delete answers.startRun;
    delete answers.runs;
    const body = { schedule: "x", force: true };
    const wrong = await errorOf({ method: "POST", path: "/v1/runs", schema: runStartedSchema, body });
    expect(wrong.code).to.equal("SKEP_API_REQUEST_INVALID");
    const query = await errorOf({ path: "/v1/runs?limit=-1", schema: runsSchema });
    expect(query.code).to.equal("SKEP_API_REQUEST_INVALID");
    const path = await errorOf({ path: "/v1/runs/..%2f..%2fetc", schema: z.unknown() });
    expect(path.code).to.equal("SKEP_API_REQUEST_INVALID");
  });

  it("logs a fault of its own, and tells the asker no more than that", async () => {
    answers.agents = () => Promise.reject(new TypeError("the inside of the controller"));
    const fault = await errorOf({ path: "/v1/agents", schema: agentsSchema });
    expect(fault).to.include({ code: "SKEP_INTERNAL", permanent: false });
    expect(fault.message).to.not.contain("inside");
    expect(logged).to.contain("the inside of the controller");
  });
});
