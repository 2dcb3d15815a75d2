// The controller, put together: what the API asks for, and what goes on by itself while it runs.
import { setTimeout as sleep } from "node:timers/promises";
import { fingerprintOf, queueNames } from "../shared/contract/queues.ts";
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { Agents } from "./agents.ts";
import type { Backend } from "./api/backend.ts";
import type { MetricFacts } from "./api/metrics.ts";
import type { Agent, Restore, RolledBack, RunAnswer, RunSummary, StartRestore } from "./api/schemas.ts";
import { examine } from "./doctor.ts";
import { Caretaker } from "./caretaker.ts";
import { Enrolments } from "./enrolments.ts";
import type { FlowView } from "./flow.ts";
import { gatherMetrics } from "./metric-facts.ts";
import { Policies, type PolicyInForce } from "./policies.ts";
import type { JobQueue } from "./queue.ts";
import type { Repository } from "./repository.ts";
import { Restores } from "./restores.ts";
import { RunBook } from "./run-book.ts";
import { runProgressOf, runSummaryOf } from "./run-progress.ts";
import { dataOf, runKind, Runs } from "./runs.ts";
import { Schedules } from "./schedules.ts";
import { rollBackService, serviceRollbackHandler, serviceRollbackKind } from "./service-rollback.ts";
import { defaultTenderTimings, Tender, type TenderTimings } from "./tender.ts";

export interface ControllerOptions {
  queue: JobQueue;
  repository: Repository;
  /** Text of skep.yaml, whose `policy` seeds the first version. */
  seedText: string;
  log: Logger;
  timings?: TenderTimings;
}

/** The repository object is looked at again this often, ms: a recovery fences this controller by a new one. */
const refreshMs = 60_000;
const scheduleMs = 5_000;
/** The chain of runs is looked at so often, for what an operator forgot, and whether a prune is due, ms. */
const careMs = 10 * 60_000;

export class Controller implements Backend {
  readonly #queue: JobQueue;
  readonly #repository: Repository;
  readonly #log: Logger;
  readonly #agents: Agents;
  readonly #enrolments: Enrolments;
  readonly #policies: Policies;
  readonly #book: RunBook;
  readonly #runs: Runs;
  readonly #restores: Restores;
  readonly #tender: Tender;
  readonly #schedules: Schedules;
  readonly #caretaker: Caretaker;
  /** Foreign objects of which the log has told. */
  readonly #told = new Set<string>();

  private constructor({ queue, repository, log, timings = defaultTenderTimings }: ControllerOptions) {
    this.#queue = queue;
    this.#repository = repository;
    this.#log = log;
    this.#agents = new Agents(timings.watchMs);
    this.#enrolments = new Enrolments(repository, this.#agents, log);
    this.#policies = new Policies(repository);
    this.#book = new RunBook(repository, log);
    const { graceMs } = timings;
    const [agents, policies, book] = [this.#agents, this.#policies, this.#book];
    this.#runs = new Runs({ queue, repository, agents, policies, book, log, graceMs });
    this.#restores = new Restores(
      queue,
      () => repository,
      () => agents.presences(),
    );
    const dispatching = this.#runs.dispatching.bind(this.#runs);
    const onLost = (flow: FlowView): Promise<void> => this.#runs.replaceLost(flow, Date.now());
    this.#tender = new Tender({ queue, agents, dispatching, onLost, log, timings });
    this.#schedules = new Schedules({ policies, book, runs: this.#runs, queue, log });
    this.#caretaker = new Caretaker({ repository, policies, book, queue, log });
  }

  /** Reads from the store what it has to know; nothing is served yet. Throws what the store throws. */
  static async open(options: ControllerOptions): Promise<Controller> {
    const controller = new Controller(options);
    await controller.#policies.load(options.seedText, Date.now());
    const { seedFault } = controller.#policies;
    if (seedFault !== null) options.log.error({ error: seedFault }, seedFault.message);
    await Promise.all([controller.#enrolments.load(), controller.#book.load()]);
    controller.#tellOfForeign();
    return controller;
  }

  #tellOfForeign(): void {
    for (const { key, fault } of this.#repository.foreign) {
      if (this.#told.has(key)) continue;
      this.#told.add(key);
      this.#log.error({ key, error: toErrorRecord(fault) }, `what lies at ${key} now does not count: ${fault.message}`);
    }
  }

  async #refresh(signal: AbortSignal): Promise<void> {
    await this.#repository.refresh(signal);
    this.#tellOfForeign();
  }

  /** Serves agents and flows and keeps the schedules, until the signal. Throws SKEP_REPOSITORY_FENCED. */
  async work(signal: AbortSignal): Promise<void> {
    this.#queue.serveRequests(queueNames.enrolment, (data) => this.#enrolments.answer(data, Date.now()));
    this.#queue.serveFlows({
      ...this.#runs.handlers,
      [serviceRollbackKind]: serviceRollbackHandler(() => this.#repository, Date.now),
      ...this.#restores.handlers,
    });
    const stop = new AbortController();
    const until = AbortSignal.any([signal, stop.signal]);
    try {
      await Promise.all([
        this.#tender.run(until),
        this.#repeat(scheduleMs, until, "the schedules", () => this.#schedules.look(Date.now())),
        this.#repeat(refreshMs, until, "the repository object", () => this.#refresh(until)),
        this.#repeat(careMs, until, "the repository", () => this.#caretaker.look(until)),
      ]);
    } finally {
      stop.abort();
    }
  }

  /** What fails is said, once for each reason, and tried again; only being fenced ends it. */
  async #repeat(everyMs: number, signal: AbortSignal, what: string, act: () => Promise<void>): Promise<void> {
    let told = "";
    while (!signal.aborted) {
      try {
        await act();
        told = "";
      } catch (error) {
        if (error instanceof SkepError && error.code === "SKEP_REPOSITORY_FENCED") throw error;
        const record = toErrorRecord(error);
        if (record.message !== told) this.#log.warn({ error: record }, `${what} could not be looked at; trying on`);
        told = record.message;
      }
      await sleep(everyMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async agents(): Promise<Agent[]> {
    const enrolled = [...this.#enrolments.enrolled.values()].map((enrolment) => {
      const { nodeId, hostname, recipient, enrolledAt } = enrolment;
      return this.#agent(nodeId, hostname, recipient, { state: "enrolled", enrolledAt });
    });
    const waiting = [...this.#enrolments.waiting.values()].map(({ request }) => {
      const { nodeId, hostname, recipient } = request;
      return this.#agent(nodeId, hostname, recipient, { state: "waiting", enrolledAt: null });
    });
    const all = [...enrolled, ...waiting];
    return Promise.resolve(all.sort((a, b) => (a.hostname < b.hostname ? -1 : a.hostname > b.hostname ? 1 : 0)));
  }

  #agent(nodeId: string, hostname: string, recipient: string, standing: Pick<Agent, "state" | "enrolledAt">): Agent {
    const heard = this.#agents.last(nodeId);
    const { role, leader, skepVersion, engineVersion, problems } = heard?.heartbeat ?? unheard;
    const lastSeenAt = heard === null ? null : new Date(heard.heardAt).toISOString();
    const fingerprint = fingerprintOf(recipient);
    return {
      nodeId,
      hostname,
      fingerprint,
      ...standing,
      lastSeenAt,
      role,
      leader,
      skepVersion,
      engineVersion,
      problems,
    };
  }

  async approveAgent(nodeId: string, fingerprint: string): Promise<Agent> {
    await this.#enrolments.approve(nodeId, fingerprint, Date.now());
    const approved = (await this.agents()).find((agent) => agent.nodeId === nodeId && agent.state === "enrolled");
    if (approved === undefined) throw new Error(`${nodeId} was approved and is not enrolled`);
    return approved;
  }

  async startRun(schedule: string | null): Promise<string> {
    await this.#queue.reach();
    return this.#runs.command(schedule, Date.now());
  }

  async runs(limit: number): Promise<RunSummary[]> {
    const open = (await this.#runFlows()).flatMap((flow) => {
      const data = dataOf(flow);
      return data === null || this.#book.has(data.runId) ? [] : [runSummaryOf(flow, data)];
    });
    return [...open, ...this.#book.summaries].slice(0, limit);
  }

  /** None while Redis is away: what is written can be read without it. */
  async #runFlows(): Promise<FlowView[]> {
    try {
      await this.#queue.reach();
    } catch (error) {
      if (error instanceof SkepError && error.code === "SKEP_QUEUE_UNREACHABLE") return [];
      throw error;
    }
    return this.#queue.flows(runKind);
  }

  async run(asked: string): Promise<RunAnswer> {
    const id = this.#runs.inPlaceOf(asked);
    const written = await this.#book.run(id);
    if (written !== null) return { run: written };
    await this.#queue.reach();
    const flows = await this.#queue.flows(runKind);
    const flow = id === "latest" ? flows[0] : flows.find((each) => dataOf(each)?.runId === id);
    const data = flow === undefined ? null : dataOf(flow);
    if (flow?.state === "open" && data !== null) {
      const [queue, repository, agents] = [this.#queue, this.#repository, this.#agents];
      const outcomes = await queue.openOutcomes(flow.id);
      // It has ended since.
      if (outcomes === null) return this.run(asked);
      const jobs = await this.#runs.jobsOf(flow, data, outcomes);
      return { progress: await runProgressOf(flow, data, outcomes, { queue, repository, agents, ...jobs }) };
    }
    // Written and ended between the first look and the second.
    const since = await this.#book.run(id);
    if (since !== null) return { run: since };
    if (flow?.state === "failed" && flow.error !== null && data !== null) {
      const { code, message, hint } = flow.error;
      throw new SkepError({
        code: "SKEP_RUN_UNWRITTEN",
        message: `run ${data.runId} ended without being written: ${code}: ${message}`,
        permanent: true,
        ...(hint !== undefined && { hint }),
      });
    }
    throw new SkepError({
      code: "SKEP_RUN_UNKNOWN",
      message: id === "latest" ? "there is no run yet" : `there is no run ${id}`,
      permanent: true,
      hint: "`skep runs` lists them; one that Redis lost before it was written never became a run",
    });
  }

  policy(): Promise<{ version: number; policy: unknown }> {
    return Promise.resolve(told(this.#policies.require()));
  }

  async setPolicy(yaml: string): Promise<{ version: number; policy: unknown }> {
    return told(await this.#policies.put(yaml, Date.now()));
  }

  doctor(): ReturnType<Backend["doctor"]> {
    const [repository, agents, enrolments] = [this.#repository, this.#agents, this.#enrolments];
    const [policies, book, queue] = [this.#policies, this.#book, this.#queue];
    return examine({ repository, agents, enrolments, policies, book, queue }, Date.now());
  }

  async metrics(): Promise<MetricFacts> {
    const [book, queue, agents] = [this.#book, this.#queue, this.#agents];
    return gatherMetrics({ book, queue, agents, listed: await this.agents() });
  }

  async rollBackService(name: string): Promise<RolledBack> {
    await this.#queue.reach();
    return rollBackService(this.#queue, name);
  }

  async startRestore(request: StartRestore): Promise<string> {
    await this.#queue.reach();
    return this.#restores.start(request);
  }
  async restores(): Promise<Restore[]> {
    await this.#queue.reach();
    return this.#restores.list();
  }
  async restore(id: string): Promise<Restore> {
    await this.#queue.reach();
    return this.#restores.view(id);
  }
  async giveRestoreKeys(id: string, sealedKeys: string): Promise<void> {
    await this.#queue.reach();
    return this.#restores.giveKeys(id, sealedKeys);
  }
  async takeBackRestore(id: string, kind: "undo" | "discard"): Promise<void> {
    await this.#queue.reach();
    return this.#restores.takeBack(id, kind);
  }
}

const unheard: Pick<Agent, "role" | "leader" | "skepVersion" | "engineVersion" | "problems"> = {
  role: "worker",
  leader: false,
  skepVersion: "",
  engineVersion: "",
  problems: [],
};

function told({ version, policy }: PolicyInForce): { version: number; policy: unknown } {
  return { version, policy };
}
