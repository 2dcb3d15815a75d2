// Where jobs from the queue are checked, written down, carried out and answered. It decides; worker.ts only
// fetches. One job never runs twice at a time here: a queue that lost sight of a running job gets that run's end.
import { fromErrorRecord, SkepError, toErrorRecord } from "../shared/errors.ts";
import { openJob, sealResult, type SealedResult } from "../shared/contract/signed-job.ts";
import type { Job } from "../shared/contract/job.ts";
import type { TaskResult } from "../shared/contract/task-result.ts";
import type { JobProgress } from "../shared/contract/job-progress.ts";
import type { Attempt } from "./context.ts";
import type { Enrolled } from "./enrolment.ts";
import type { Journal } from "./journal.ts";
import type { NodeIdentity } from "./node-identity.ts";
import { explainFullState } from "./state-error.ts";

export interface JobDeskOptions {
  journal: Journal;
  /** Where the journal lies, and what else the agent keeps. */
  stateDir: string;
  node: () => NodeIdentity;
  enrolled: () => Enrolled;
  /** Asks the controller anew who it is; where that failed, or was just done, resolves all the same. */
  renewEnrolment: () => Promise<void>;
  execute: (job: Job, enrolled: Enrolled, attempt: Attempt) => Promise<TaskResult>;
}

export interface TakenJob {
  /** As the queue knows it. */
  id: string;
  data: unknown;
  /** The queue does not try again where this fails. */
  isLast: boolean;
  onProgress: (progress: JobProgress) => void;
}

export class JobDesk {
  readonly #options: JobDeskOptions;
  readonly #running = new Map<string, Promise<SealedResult>>();
  readonly #stop = new AbortController();

  constructor(options: JobDeskOptions) {
    this.#options = options;
  }

  /** Throws a SkepError; SKEP_AGENT_STOPPING where the agent was told to stop: then the job is to be begun again. */
  async carry(taken: TakenJob): Promise<SealedResult> {
    const job = await this.#open(taken);
    const running = this.#running.get(job.id);
    if (running !== undefined) return running;
    const run = this.#begin(job, taken);
    this.#running.set(job.id, run);
    try {
      return await run;
    } catch (error) {
      throw explainFullState(error, `do job ${job.id}`, this.#options.stateDir);
    } finally {
      this.#running.delete(job.id);
    }
  }

  /** The queue has this job's result. */
  acknowledged(jobId: string): void {
    this.#options.journal.acknowledged(jobId);
  }

  /** Aborts what runs; nothing is begun after it. */
  stop(): void {
    this.#stop.abort(
      new SkepError({ code: "SKEP_AGENT_STOPPING", message: "the agent was told to stop", permanent: false }),
    );
  }

  get stopping(): boolean {
    return this.#stop.signal.aborted;
  }

  async #open(taken: TakenJob): Promise<Job> {
    let job: Job;
    try {
      job = this.#check(taken.data);
    } catch (error) {
      // A recovery or a new controller key may have come since the last enrolment.
      const { code } = error as SkepError;
      if (code !== "SKEP_JOB_FOREIGN" && code !== "SKEP_SIGNATURE_INVALID") throw error;
      await this.#options.renewEnrolment();
      job = this.#check(taken.data);
    }
    await this.#catchUp(job);
    if (job.id === taken.id) return job;
    throw new SkepError({
      code: "SKEP_JOB_INVALID",
      message: `job ${job.id} lies in the queue as ${taken.id}`,
      permanent: true,
      hint: "somebody else than the controller wrote to the queue",
    });
  }

  #check(data: unknown): Job {
    const { repository } = this.#options.enrolled();
    const { nodeId, role } = this.#options.node();
    return openJob(data, {
      controllerPublicKey: repository.controllerPublicKey,
      repositoryId: repository.repositoryId,
      incarnation: repository.incarnation,
      nodeId,
      isManager: role === "manager",
      now: Date.now(),
    });
  }

  /** A job that was ordered under newer keys waits for them: else a removed operator could still open what it writes. */
  async #catchUp({ id, repositoryVersion = 1 }: Job): Promise<void> {
    const { enrolled, renewEnrolment } = this.#options;
    if (repositoryVersion <= enrolled().repository.version) return;
    await renewEnrolment();
    if (repositoryVersion <= enrolled().repository.version) return;
    throw new SkepError({
      code: "SKEP_ENROLMENT_OLD",
      message: `job ${id} was ordered under version ${repositoryVersion} of the keys, which this agent did not get yet`,
      permanent: false,
      hint: "it is tried again; the controller's log says what keeps it from answering",
    });
  }

  async #begin(job: Job, { onProgress, isLast }: TakenJob): Promise<SealedResult> {
    const { journal, execute } = this.#options;
    this.#stop.signal.throwIfAborted();
    const enrolled = this.#options.enrolled();
    const accepted = journal.accept(job);
    if (accepted.kind === "done") return accepted.result;
    const expiry = expirySignal(job);
    const signal = AbortSignal.any([this.#stop.signal, expiry.signal]);
    try {
      const attempt = { jobId: job.id, number: accepted.attempt, isLast, signal, onProgress };
      const result = await execute(job, enrolled, attempt);
      const sealed = sealResult(job.id, result, this.#options.node().nodeId, enrolled.writerKeys.result);
      journal.done(job.id, sealed);
      return sealed;
    } catch (error) {
      if (!this.stopping) throw job.target.kind === "managers" ? forAnotherManager(error) : error;
      journal.giveBack(job.id);
      throw this.#stop.signal.reason;
    } finally {
      expiry.clear();
    }
  }
}

/** One that is no manager any more, as its disk is full say, is not the only one that takes such a job. */
function forAnotherManager(thrown: unknown): unknown {
  const record = toErrorRecord(thrown);
  return record.code === "SKEP_DOCKER_NOT_MANAGER" ? fromErrorRecord({ ...record, permanent: false }) : thrown;
}

/** setTimeout takes no more than 31 bits of ms, 24 days. */
const longestTimerMs = 2 ** 31 - 1;

function expirySignal(job: Job): { signal: AbortSignal; clear: () => void } {
  const controller = new AbortController();
  const timer = setTimeout(
    () => {
      controller.abort(
        new SkepError({
          code: "SKEP_JOB_EXPIRED",
          message: `job ${job.id} was ended at its expiry, ${job.expiresAt}`,
          permanent: true,
          hint: "give jobs more time in the policy, or look for what makes this one slow",
        }),
      );
    },
    Math.min(longestTimerMs, Math.max(0, Date.parse(job.expiresAt) - Date.now())),
  );
  return {
    signal: controller.signal,
    clear: () => {
      clearTimeout(timer);
    },
  };
}
