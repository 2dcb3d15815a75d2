import { expect } from "chai";
import { createHmac, randomBytes } from "node:crypto";
import type { Job } from "../../../shared/contract/job.ts";
import { openJob, openResult, sealResult, signJob, type JobExpectation } from "../../../shared/contract/signed-job.ts";
import type { TaskResultOf } from "../../../shared/contract/task-result.ts";
import { SkepError } from "../../../shared/errors.ts";
import { generateSigningKeyPair, signPayload } from "../../../shared/repository/signature.ts";

const controller = generateSigningKeyPair();
const now = Date.parse("2026-11-21T03:00:00Z");
const job: Job = {
  version: 1,
  id: "20261121-030000-abc123-raft",
  repositoryId: "0".repeat(32),
  incarnation: 1,
  target: { kind: "node", nodeId: "node1" },
  issuedAt: "2026-11-21T03:00:00.000Z",
  expiresAt: "2026-11-21T04:00:00.000Z",
  maxAttempts: 3,
  task: { kind: "raft", runId: "20261121-030000-abc123" },
};
const expected: JobExpectation = {
  controllerPublicKey: controller.publicKey,
  repositoryId: job.repositoryId,
  incarnation: 1,
  nodeId: "node1",
  isManager: true,
  now,
};

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof SkepError) return error.code;
    throw error;
  }
  return "accepted";
}

describe("signed jobs", () => {
  it("are accepted as the controller ordered them", () => {
    expect(openJob(signJob(job, controller.privateKey), expected)).to.deep.equal(job);
  });

  const signed = signJob(job, controller.privateKey);
  const refusals: [string, string, unknown, Partial<JobExpectation>][] = [
    ["unsigned", "SKEP_JOB_INVALID", job, {}],
    [
      "changed after signing",
      "SKEP_SIGNATURE_INVALID",
      { ...signed, payload: signed.payload.replace("raft", "node") },
      {},
    ],
    ["signed by another key", "SKEP_SIGNATURE_INVALID", signJob(job, generateSigningKeyPair().privateKey), {}],
    [
      "signed as something else",
      "SKEP_SIGNATURE_INVALID",
      signPayload("skep/v1 run", JSON.stringify(job), controller.privateKey),
      {},
    ],
    ["signed, and no JSON", "SKEP_JOB_INVALID", signPayload("skep/v1 job", "a text", controller.privateKey), {}],
    ["signed, and no job", "SKEP_JOB_INVALID", signPayload("skep/v1 job", "{}", controller.privateKey), {}],
    ["for another node", "SKEP_JOB_FOREIGN", signed, { nodeId: "node2" }],
    ["for another repository", "SKEP_JOB_FOREIGN", signed, { repositoryId: "1".repeat(32) }],
    ["of another incarnation", "SKEP_JOB_FOREIGN", signed, { incarnation: 2 }],
    ["expired", "SKEP_JOB_EXPIRED", signed, { now: now + 3_600_000 }],
    ["from the future", "SKEP_JOB_EXPIRED", signed, { now: now - 600_000 }],
  ];
  for (const [what, code, data, differs] of refusals) {
    it(`are refused when ${what}`, () => {
      expect(codeOf(() => openJob(data, { ...expected, ...differs }))).to.equal(code);
    });
  }
});

describe("results", () => {
  const key = randomBytes(32);
  const result: TaskResultOf<"release"> = {
    kind: "release",
    released: ["db"],
    leftAlone: [],
    rolledBack: [],
    quiet: [],
  };

  it("come back as the agent gave them", () => {
    const sealed = sealResult("job-1", result, "node1", key);
    expect(openResult(sealed, "job-1", () => key)).to.deep.equal({ writerId: "node1", result });
  });

  it("are refused as no JSON, whoever authenticated them", () => {
    const payload = "a text";
    const mac = createHmac("sha256", key).update(`skep/v1 result\0node1\0${payload}`).digest("base64");
    expect(codeOf(() => openResult({ payload, mac, writerId: "node1" }, "job-1", () => key))).to.equal(
      "SKEP_RESULT_INVALID",
    );
  });

  it("are refused from another writer, for another job, and changed", () => {
    const sealed = sealResult("job-1", result, "node1", key);
    expect(codeOf(() => openResult(sealed, "job-2", () => key))).to.equal("SKEP_RESULT_INVALID");
    expect(codeOf(() => openResult(sealed, "job-1", () => randomBytes(32)))).to.equal("SKEP_RESULT_INVALID");
    expect(codeOf(() => openResult({ ...sealed, writerId: "node2" }, "job-1", () => key))).to.equal(
      "SKEP_RESULT_INVALID",
    );
    const changed = { ...sealed, payload: sealed.payload.replace("db", "web") };
    expect(codeOf(() => openResult(changed, "job-1", () => key))).to.equal("SKEP_RESULT_INVALID");
  });

  it("are refused with authentication of another length, which its text's length does not tell", () => {
    const sealed = sealResult("job-1", result, "node1", key);
    for (const mac of [sealed.mac.replace("=", "A"), `${sealed.mac.slice(0, 42)}==`]) {
      expect(mac).to.have.length(sealed.mac.length);
      expect(codeOf(() => openResult({ ...sealed, mac }, "job-1", () => key))).to.equal("SKEP_RESULT_INVALID");
    }
  });
});
