import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import type { Attempt } from "../../agent/context.ts";
import type { Enrolled } from "../../agent/enrolment.ts";
import { JobDesk } from "../../agent/job-desk.ts";
import { Journal } from "../../agent/journal.ts";
import type { NodeIdentity } from "../../agent/node-identity.ts";
import type { Job } from "../../shared/contract/job.ts";
import type { TaskResult } from "../../shared/contract/task-result.ts";
import { SkepError } from "../../shared/errors.ts";
import { openResult, signJob, type SealedResult } from "../../shared/contract/signed-job.ts";
import { deriveWriterKeys } from "../../shared/repository/keys.ts";
import { generateSigningKeyPair } from "../../shared/repository/signature.ts";

const repositoryId = "00112233445566778899aabbccddeeff";
const node: NodeIdentity = { nodeId: "node1id", hostname: "node1", role: "worker", engineVersion: "26" };
const writerKey = Buffer.alloc(32, 7);
const writerKeys = deriveWriterKeys(writerKey, repositoryId);
const result: TaskResult = { kind: "release", released: ["web"], leftAlone: [], rolledBack: [], quiet: [] };

describe("the desk where jobs from the queue come in", () => {
  const controller = generateSigningKeyPair();
  let folder: string;
  let journal: Journal;
  let desk: JobDesk;
  let executions: Attempt[];
  let execute: (job: Job, enrolled: Enrolled, attempt: Attempt) => Promise<TaskResult>;
  let renewals: number;
  let trusted: string;
  let version: number;
  let role: NodeIdentity["role"];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-desk-"));
    journal = new Journal(join(folder, "journal.sqlite"));
    executions = [];
    renewals = 0;
    trusted = controller.publicKey;
    version = 1;
    role = "worker";
    execute = () => Promise.resolve(result);
    makeDesk();
  });
  afterEach(() => {
    journal.close();
    rmSync(folder, { recursive: true });
  });

  function makeDesk(): void {
    desk = new JobDesk({
      journal,
      stateDir: "/var/lib/skep",
      node: () => ({ ...node, role }),
      enrolled: () => {
        const keys = { repositoryId, version, incarnation: 1, controllerPublicKey: trusted };
        const repository = keys as Enrolled["repository"];
        return { repository, writerKey, writerKeys };
      },
      renewEnrolment: () => {
        renewals++;
        return Promise.resolve();
      },
      execute: (job, enrolled, attempt) => {
        executions.push(attempt);
        return execute(job, enrolled, attempt);
      },
    });
  }

  function makeJob(change: Partial<Job> = {}): Job {
    return {
      version: 1,
      id: "job-1",
      repositoryId,
      incarnation: 1,
      target: { kind: "node", nodeId: node.nodeId },
      issuedAt: new Date().toISOString(),
      expiresAt: new Date(Date.now() + 60_000).toISOString(),
      maxAttempts: 3,
      task: { kind: "release", holdId: "abcdefghijkl" },
      ...change,
    };
  }
  const carry = (job: Job, id = job.id, key = controller.privateKey): Promise<SealedResult> =>
    desk.carry({ id, data: signJob(job, key), isLast: false, onProgress: () => undefined });
  const failureOf = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => null,
      (error: unknown) => error,
    );

  it("answers with a result that only this node's agent could have sealed", async () => {
    const sealed = await carry(makeJob());
    expect(openResult(sealed, "job-1", () => writerKeys.result)).to.deep.equal({ writerId: node.nodeId, result });
    expect(executions.map(({ number }) => number)).to.deep.equal([1]);
  });

  const foreign: [title: string, change: Partial<Job>, code: string][] = [
    ["another node", { target: { kind: "node", nodeId: "node2id" } }, "SKEP_JOB_FOREIGN"],
    ["managers, and this is none", { target: { kind: "managers" } }, "SKEP_JOB_FOREIGN"],
    ["another repository", { repositoryId: "ff".repeat(16) }, "SKEP_JOB_FOREIGN"],
    ["another incarnation", { incarnation: 2 }, "SKEP_JOB_FOREIGN"],
    ["the past", { expiresAt: new Date(Date.now() - 1).toISOString() }, "SKEP_JOB_EXPIRED"],
  ];
  for (const [title, change, code] of foreign) {
    it(`refuses a job for ${title}, and does nothing`, async () => {
      expect(await failureOf(carry(makeJob(change)))).to.include({ code, permanent: true });
      expect(executions).to.have.length(0);
    });
  }

  it("refuses what somebody without the controller's key pushed into the queue", async () => {
    const thief = generateSigningKeyPair().privateKey;
    expect(await failureOf(carry(makeJob(), "job-1", thief))).to.include({ code: "SKEP_SIGNATURE_INVALID" });
    const unsigned = desk.carry({ id: "job-1", data: makeJob(), isLast: false, onProgress: () => undefined });
    expect(await failureOf(unsigned)).to.include({ code: "SKEP_JOB_INVALID" });
    expect(executions).to.have.length(0);
  });

  it("leaves a job for any manager to another one where this has just ceased to be one", async () => {
    role = "manager";
    execute = () =>
      Promise.reject(new SkepError({ code: "SKEP_DOCKER_NOT_MANAGER", message: "its disk is full", permanent: true }));
    const failure = { code: "SKEP_DOCKER_NOT_MANAGER", message: "its disk is full" };
    expect(await failureOf(carry(makeJob()))).to.include({ ...failure, permanent: true });
    const forAny = makeJob({ id: "job-2", target: { kind: "managers" } });
    expect(await failureOf(carry(forAny))).to.include({ ...failure, permanent: false });
  });

  it("refuses a copy under another id, and a copy of what was done", async () => {
    const job = makeJob();
    expect(await failureOf(carry(job, "job-2"))).to.include({ code: "SKEP_JOB_INVALID" });
    await carry(job);
    desk.acknowledged(job.id);
    expect(await failureOf(carry(job))).to.include({ code: "SKEP_JOB_REPLAYED", permanent: true });
    expect(executions).to.have.length(1);
  });

  it("works once for a queue that lost the job while it runs, and once more lost its end", async () => {
    const gate = Promise.withResolvers<TaskResult>();
    execute = () => gate.promise;
    const first = carry(makeJob());
    const second = carry(makeJob());
    gate.resolve(result);
    expect(await first).to.deep.equal(await second);
    expect(await carry(makeJob())).to.deep.equal(await first);
    expect(executions).to.have.length(1);
  });

  it("tries a failed job again, up to its limit, and says which attempt it is", async () => {
    execute = () => Promise.reject(new Error("boom"));
    for (let time = 0; time < 3; time++) expect(await failureOf(carry(makeJob()))).to.include({ message: "boom" });
    expect(await failureOf(carry(makeJob()))).to.include({ code: "SKEP_JOB_REPLAYED" });
    expect(executions.map(({ number }) => number)).to.deep.equal([1, 2, 3]);
  });

  it("asks the controller anew who it is before it refuses a signature", async () => {
    const successor = generateSigningKeyPair();
    expect(await failureOf(carry(makeJob(), "job-1", successor.privateKey))).to.include({
      code: "SKEP_SIGNATURE_INVALID",
    });
    expect(renewals).to.equal(1);
    trusted = successor.publicKey;
    await carry(makeJob(), "job-1", successor.privateKey);
  });

  it("does no job that was ordered under newer keys before it has them", async () => {
    const job = makeJob({ repositoryVersion: 2 });
    expect(await failureOf(carry(job))).to.include({ code: "SKEP_ENROLMENT_OLD", permanent: false });
    expect(renewals).to.equal(1);
    expect(executions).to.have.length(0);
    version = 2;
    await carry(job);
    expect(executions).to.have.length(1);
    expect(renewals).to.equal(1);
  });

  it("ends a job at its expiry", async () => {
    execute = (_job, _enrolled, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          reject(signal.reason as Error);
        });
      });
    const job = makeJob({ expiresAt: new Date(Date.now() + 50).toISOString() });
    expect(await failureOf(carry(job))).to.include({ code: "SKEP_JOB_EXPIRED", permanent: true });
  });

  it("gives running jobs back when it is told to stop, without counting the attempt, and begins no more", async () => {
    execute = (_job, _enrolled, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          reject(new Error("half-way"));
        });
      });
    const running = failureOf(carry(makeJob()));
    await new Promise((resolve) => setImmediate(resolve));
    desk.stop();
    expect(await running).to.include({ code: "SKEP_AGENT_STOPPING", permanent: false });
    expect(await failureOf(carry(makeJob({ id: "job-2" })))).to.include({ code: "SKEP_AGENT_STOPPING" });
    makeDesk();
    execute = () => Promise.resolve(result);
    await carry(makeJob());
    expect(executions.map(({ number }) => number)).to.deep.equal([1, 1]);
  });
});
