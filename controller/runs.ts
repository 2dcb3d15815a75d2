// A run, as a flow in four steps, each of which may be done again after a crash:
//
//   swarm    Raft and definitions, by any manager's agent
//   nodes    node facts, by every agent that is there
//   volumes  one job for each volume that the policy selects, held back until there is a place for it
//   commit   all outcomes are opened and checked, and the run object is written, last
//
// What a step needs it reads from authenticated results; what stands in Redis as the flow's data only says where it is.
import { z } from "zod";
import { maxAbsentPacks, type Task, type TaskOf } from "../shared/contract/job.ts";
import { queueNames, volumesAtOnce } from "../shared/contract/queues.ts";
import { SkepError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { newestUpkeep } from "../shared/repository/chain.ts";
import { newRunId, runIdPattern } from "../shared/repository/layout.ts";
import type { Signed } from "../shared/repository/signature.ts";
import type { RunNode, Warning } from "../shared/repository/run.ts";
import { absentPacksOf } from "../shared/repository/upkeep/absent-packs.ts";
import type { UpkeepEntry } from "../shared/repository/upkeep-entry.ts";
import { skepVersion } from "../shared/version.ts";
import type { Agents } from "./agents.ts";
import { commitRun } from "./commit.ts";
import type { ChildOutcome, Flow, FlowHandler, FlowNext, FlowView, NewChild } from "./flow.ts";
import type { ImageJob } from "./images/image-plan.ts";
import type { Policies } from "./policies.ts";
import type { Policy } from "./policy.ts";
import type { JobQueue } from "./queue.ts";
import { letGoHandler, letGoKind, letGoOf } from "./let-go.ts";
import { layQuiet } from "./quiet-results.ts";
import { childrenOf, planUnits, unitOrder, volumeTask, type QuietUnit } from "./quiet-units.ts";
import type { Repository } from "./repository.ts";
import type { RunBook } from "./run-book.ts";
import { childId, concludeRun, jobBytesPerSecond, nodesToAsk, type VolumeJob } from "./run-plan.ts";
import { imageJobs, openImages, openNodes, opener, openSwarm, openVolumes, volumeJobs } from "./run-results.ts";
import { dueJobId, type DueRun } from "./schedule.ts";
import type { Dispatching } from "./tender.ts";
import { wordSources } from "./volume-speakers.ts";

export const runKind = "run";

export const runDataSchema = z.strictObject({
  runId: z.string().regex(runIdPattern),
  trigger: z.enum(["schedule", "command"]),
  schedule: z.string().max(200).nullable(),
  policyVersion: z.int().min(1),
  /** Null until the first step. */
  startedAt: z.iso.datetime().nullable(),
  /** When the volumes' jobs were added. */
  volumesAt: z.iso.datetime().nullable(),
  /** The step to be done next. */
  step: z.enum(["swarm", "nodes", "volumes", "commit"]),
});
export type RunData = z.infer<typeof runDataSchema>;

/** Attempts at each job of a run, with back-off. */
const attempts = 3;
/** Raft, definitions and node facts take seconds; this is for a busy store, ms. */
const smallJobMs = 30 * 60_000;

/** What one run's volume jobs are, kept while it is open. */
interface RunPlan {
  policy: Policy;
  jobs: Map<string, VolumeJob>;
  images: ReadonlyMap<string, ImageJob>;
  units: QuietUnit[];
  /** What counted when it was planned: agents are told which packs are gone. */
  upkeep: UpkeepEntry | null;
  nodes: number;
}

export class Runs {
  readonly #queue: JobQueue;
  readonly #repository: Repository;
  readonly #agents: Agents;
  readonly #policies: Policies;
  readonly #book: RunBook;
  readonly #log: Logger;
  readonly #graceMs: number;
  /** Of the run that is open: there is one at a time. */
  #planned: { flowId: string; plan: RunPlan } | null = null;
  /** Runs that Redis lost → those that were begun in their place. */
  readonly #anew = new Map<string, string>();

  constructor(options: {
    queue: JobQueue;
    repository: Repository;
    agents: Agents;
    policies: Policies;
    book: RunBook;
    log: Logger;
    /** How long a silent agent is waited for, ms. */
    graceMs: number;
  }) {
    this.#queue = options.queue;
    this.#repository = options.repository;
    this.#agents = options.agents;
    this.#policies = options.policies;
    this.#book = options.book;
    this.#log = options.log;
    this.#graceMs = options.graceMs;
  }

  /** Begins a run by command, in the name of a schedule or of none. Throws SKEP_RUN_IN_PROGRESS, SKEP_POLICY_MISSING, SKEP_SCHEDULE_UNKNOWN. */
  async command(schedule: string | null, now: number): Promise<string> {
    const { policy } = this.#policies.require();
    if (schedule !== null && !policy.schedules.some(({ name }) => name === schedule)) {
      throw new SkepError({
        code: "SKEP_SCHEDULE_UNKNOWN",
        message: `the policy has no schedule "${schedule}"`,
        permanent: true,
        hint: `its schedules: ${policy.schedules.map(({ name }) => name).join(", ") || "none"}`,
      });
    }
    const runId = newRunId(now);
    const open = await this.#open(runId, { runId, trigger: "command", schedule });
    if (open === runId) return runId;
    const other = dataOf(await this.#queue.flow(open))?.runId ?? open;
    throw new SkepError({
      code: "SKEP_RUN_IN_PROGRESS",
      message: `run ${other} is in progress`,
      permanent: false,
      hint: `wait for its end: \`skep show ${other}\``,
    });
  }

  /** Offers a due run to the queue, which takes each due time once. False while another run is in progress. */
  async due(run: DueRun, now: number): Promise<boolean> {
    const id = dueJobId(run);
    return (await this.#open(id, { runId: newRunId(now), trigger: "schedule", schedule: run.schedule })) === id;
  }

  /** What a run that Redis lost had made quiet goes on, and it is begun anew. */
  async replaceLost(flow: FlowView, now: number): Promise<void> {
    const lost = dataOf(flow);
    if (lost === null) return;
    if (this.#planned?.flowId === flow.id) {
      await letGoOf(lost.runId, this.#planned.plan.units, { queue: this.#queue, repository: this.#repository, now });
    }
    await this.#beginAnew(lost, now);
  }

  /**
   * Begins a run anew that Redis lost: under another id, since agents refuse jobs that they know. One of a schedule is
   * due again by itself, as there is no run of that time; what its agents stored before is not stored again.
   */
  async #beginAnew(lost: RunData, now: number): Promise<void> {
    if (lost.trigger === "schedule" || this.#book.has(lost.runId)) return;
    const runId = newRunId(now);
    const { schedule } = lost;
    const open = await this.#open(runId, { runId, trigger: "command", schedule });
    const inPlace = open === runId ? runId : dataOf(await this.#queue.flow(open))?.runId;
    if (inPlace === undefined) return;
    this.#anew.set(lost.runId, inPlace);
    this.#log.warn({ run: lost.runId, anew: inPlace }, "a run that Redis lost is begun anew");
  }

  /** The run that was begun in place of one that Redis lost, else the same. */
  inPlaceOf(runId: string): string {
    const anew = this.#anew.get(runId);
    return anew === undefined ? runId : this.inPlaceOf(anew);
  }

  #open(id: string, run: Pick<RunData, "runId" | "trigger" | "schedule">): Promise<string> {
    const { version: policyVersion } = this.#policies.require();
    const data: RunData = { ...run, policyVersion, startedAt: null, volumesAt: null, step: "swarm" };
    return this.#queue.openFlow(runKind, id, data, runKind);
  }

  /** For JobQueue.serveFlows. */
  get handlers(): Record<string, FlowHandler> {
    return {
      [runKind]: (flow) => this.#step(flow),
      [letGoKind]: letGoHandler(this.#repository, Date.now, this.#log),
    };
  }

  async #step(flow: Flow): Promise<FlowNext> {
    const parsed = runDataSchema.safeParse(flow.data);
    if (!parsed.success) throw notOurs(flow.id);
    const { data } = parsed;
    if (this.#book.has(data.runId)) return this.#ended(flow, data, "was written before");
    const now = Date.now();
    switch (data.step) {
      case "swarm":
        // Once a recovery took over, nothing more is ordered of agents that still listen. Where the store is away, the run waits.
        await this.#repository.refresh();
        this.#log.info({ run: data.runId, trigger: data.trigger, schedule: data.schedule }, "run begins");
        await flow.addChildren(
          ["raft" as const, "definitions" as const].map((kind) => this.#swarmJob(data, kind, now)),
        );
        await flow.save({ ...data, step: "nodes", startedAt: data.startedAt ?? new Date(now).toISOString() });
        return { next: "children" };
      case "nodes":
        await flow.addChildren(this.#nodeJobs(data, await flow.outcomes(), now));
        await flow.save({ ...data, step: "volumes" });
        return { next: "children" };
      case "volumes": {
        const plan = await this.#plan(flow.id, data, await flow.outcomes());
        const volumes = [...plan.jobs].map(([id, { nodeId }]) => ({ id, nodeId, attempts }));
        const images = [...plan.images].map(([id, { nodeId }]) => ({ id, nodeId, attempts }));
        const children = [...volumes, ...images, ...plan.units.flatMap(childrenOf)].map(
          ({ id, nodeId, attempts: tries }) => ({
            ...{ id, data: null, attempts: tries },
            queue: nodeId === null ? queueNames.managers : queueNames.node(nodeId),
          }),
        );
        await flow.addChildren(children);
        this.#log.info(
          {
            run: data.runId,
            volumes: volumes.length,
            images: images.length,
            nodes: plan.nodes,
            quiet: plan.units.length,
          },
          "volumes are planned",
        );
        await flow.save({ ...data, step: "commit", volumesAt: new Date(now).toISOString() });
        return { next: "children" };
      }
      case "commit":
        return this.#commit(flow, data);
    }
  }

  #swarmJob(data: RunData, kind: "raft" | "definitions", now: number): NewChild {
    const id = childId(data.runId, kind);
    const task = { kind, runId: data.runId };
    const order = { id, target: { kind: "managers" as const }, task, timeoutMs: smallJobMs };
    return { queue: queueNames.managers, id, attempts, kind, data: this.#repository.order(order, now) };
  }

  #nodeJobs(data: RunData, children: ReadonlyMap<string, ChildOutcome>, now: number): NewChild[] {
    const nodes = this.#nodesOf(data, children);
    return nodesToAsk(nodes, this.#agents.presences(), this.#graceMs).map(({ nodeId }) => {
      const id = childId(data.runId, "node", nodeId);
      const task = { kind: "node" as const, runId: data.runId };
      const order = { id, target: { kind: "node" as const, nodeId }, task, timeoutMs: smallJobMs };
      return { queue: queueNames.node(nodeId), id, attempts, data: this.#repository.order(order, now) };
    });
  }

  /** Null where the definitions are missing. */
  #nodesOf(data: RunData, children: ReadonlyMap<string, ChildOutcome>): RunNode[] | null {
    const { definitions } = openSwarm(data.runId, children, this.#repository);
    return definitions.state === "done" ? definitions.result.nodes : null;
  }

  async #plan(flowId: string, data: RunData, children: ReadonlyMap<string, ChildOutcome>): Promise<RunPlan> {
    if (this.#planned?.flowId === flowId) return this.#planned.plan;
    const policy = await this.#policies.version(data.policyVersion);
    const nodes = openNodes(data.runId, children, this.#repository, () => "");
    const { definitions } = openSwarm(data.runId, children, this.#repository);
    const swarm = definitions.state === "done" ? definitions.result : null;
    const images = imageJobs(data.runId, nodes, swarm, policy.images);
    const jobs = volumeJobs(data.runId, nodes, policy.select.volumes, wordSources(policy.volumes, swarm));
    const upkeep = await newestUpkeep(this.#repository.catalogue);
    const units = planUnits(data.runId, jobs);
    const working = new Set([...jobs.values(), ...images.values()].map(({ nodeId }) => nodeId));
    const plan = { policy, jobs, images, units, upkeep, nodes: working.size };
    // It may have ended while somebody who only looks had it planned.
    if (!this.#book.has(data.runId)) this.#planned = { flowId, plan };
    return plan;
  }

  /** What an open run's volume and image jobs are, by child id; none before they are planned. */
  async jobsOf(
    flow: FlowView,
    data: RunData,
    children: ReadonlyMap<string, ChildOutcome>,
  ): Promise<{ volumes: ReadonlyMap<string, VolumeJob>; images: ReadonlyMap<string, ImageJob> }> {
    if (data.step !== "commit") return { volumes: new Map(), images: new Map() };
    const { jobs, images } = await this.#plan(flow.id, data, children);
    return { volumes: jobs, images };
  }

  /** For the tender: how this run's held jobs go out. */
  async dispatching(flow: FlowView): Promise<Dispatching | null> {
    const data = dataOf(flow);
    if (data === null || data.step !== "commit" || data.volumesAt === null) return null;
    const { runId } = data;
    let plan = this.#planned?.flowId === flow.id ? this.#planned.plan : null;
    if (plan === null) {
      const outcomes = await this.#queue.openOutcomes(flow.id);
      if (outcomes === null) return null;
      plan = await this.#plan(flow.id, data, outcomes);
    }
    const { limits, select } = plan.policy;
    const maxBytesPerSecond = jobBytesPerSecond(limits, plan.nodes, volumesAtOnce);
    return {
      nodesAtOnce: limits.nodesAtOnce,
      jobsPerNode: volumesAtOnce,
      jitterMs: limits.jitterSeconds * 1000,
      since: Date.parse(data.volumesAt),
      runId,
      units: plan.units,
      order: (id, now) => {
        const [job, image] = [plan.jobs.get(id), plan.images.get(id)];
        const nodeId = job?.nodeId ?? image?.nodeId;
        if (nodeId === undefined) return this.#unitOrder(plan, id, now);
        const unit = plan.units.find(({ members }) => members.includes(id));
        const absentPacks = absentPacksOf(plan.upkeep, nodeId, maxAbsentPacks);
        const all = { runId, maxBytesPerSecond, ...(absentPacks.length > 0 ? { absentPacks } : {}) };
        const task =
          image === undefined
            ? volumeTask(job as VolumeJob, unit?.id ?? null, select.excludePaths, all)
            : imageTask(image, plan.policy.images, all);
        const timeoutMs = limits.jobTimeoutMinutes * 60_000;
        return this.#repository.order({ id, target: { kind: "node", nodeId }, task, timeoutMs }, now);
      },
    };
  }

  #unitOrder({ units, jobs, policy }: RunPlan, id: string, now: number): Signed | null {
    const deadlineAt = new Date(now + policy.limits.quietMinutes * 60_000).toISOString();
    const shared = [...jobs.values()].filter(({ isShared }) => isShared).flatMap(({ views }) => views.map(nameOf));
    const ordered = unitOrder(units, id, { now, deadlineAt }, [...new Set(shared)], policy.select.excludePaths);
    if (ordered === null) return null;
    const { nodeId, task, timeoutMs } = ordered;
    const target = nodeId === null ? ({ kind: "managers" } as const) : ({ kind: "node", nodeId } as const);
    return this.#repository.order({ id, target, task, timeoutMs }, now);
  }

  async #commit(flow: Flow, data: RunData): Promise<FlowNext> {
    const { runId, trigger, schedule, policyVersion } = data;
    const children = await flow.outcomes();
    const { policy, jobs, units, images: wantedImages } = await this.#plan(flow.id, data, children);
    const nodeRecords = this.#nodesOf(data, children) ?? [];
    const hostnameOf = (nodeId: string): string =>
      nodeRecords.find(({ id }) => id === nodeId)?.hostname ?? this.#agents.last(nodeId)?.heartbeat.hostname ?? nodeId;
    const nodes = openNodes(runId, children, this.#repository, hostnameOf);
    const opened = openVolumes(jobs, children, this.#repository);
    const volumes = layQuiet(units, jobs, opened, opener(children, this.#repository));
    const images = openImages(wantedImages, children, this.#repository);
    const swarm = openSwarm(runId, children, this.#repository);
    const endedAt = new Date().toISOString();
    const frame = {
      ...{ id: runId, trigger, schedule, policyVersion, skepVersion, endedAt },
      startedAt: data.startedAt ?? endedAt,
      warnings: this.#warnings(),
      select: policy.select.volumes,
      rules: policy.volumes,
      images: policy.images,
    };
    const { sequence, status } = await commitRun({
      catalogue: this.#repository.catalogue,
      keys: this.#repository.catalogueKeys,
      repository: this.#repository.object,
      location: this.#repository.location,
      runId,
      outcomes: { ...swarm, nodes, volumes, images },
      conclude: (outcomes) => concludeRun(frame, outcomes),
      append: (run, options) => this.#book.append(run, options),
    });
    return this.#ended(flow, data, status, sequence);
  }

  #warnings(): Warning[] {
    const { abilities } = this.#repository;
    if (abilities === null || abilities.versions || abilities.objectLock) return [];
    const message = "the store keeps neither versions nor locked objects: agents' credentials could destroy backups";
    return [{ code: "SKEP_STORE_NOT_PROTECTED", message }];
  }

  #ended(flow: Flow, { runId }: RunData, status: string, sequence?: number): FlowNext {
    this.#planned = null;
    this.#log.info({ run: runId, status, sequence }, "run ended");
    return { next: "done", result: { runId, status } };
  }
}

function nameOf({ name }: { name: string }): string {
  return name;
}

function imageTask(
  { imageId, names }: ImageJob,
  mode: Policy["images"],
  all: Pick<TaskOf<"image">, "runId" | "maxBytesPerSecond" | "absentPacks">,
): Task {
  return { kind: "image", ...all, imageId, names, unlessPullable: mode === "unpullable" };
}

function notOurs(flowId: string): SkepError {
  return new SkepError({
    code: "SKEP_FLOW_INVALID",
    message: `the run ${flowId} in the queue has another shape than this version's`,
    permanent: true,
    hint: "another version of Skep, or somebody else, put it there",
  });
}

/** Null where there is none, or where it is not ours. */
export function dataOf(flow: FlowView | null): RunData | null {
  return flow === null || flow.kind !== runKind ? null : (runDataSchema.safeParse(flow.data).data ?? null);
}
