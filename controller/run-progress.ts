// What a run that is under way tells of itself: each part with its state, from the queue and from what agents answered
// so far. For people: what is believed at commit is opened there.
import type { TaskResult } from "../shared/contract/task-result.ts";
import { openResult } from "../shared/contract/signed-job.ts";
import type { PartProgress, RunProgress, RunSummary } from "./api/schemas.ts";
import type { Agents } from "./agents.ts";
import type { ChildOutcome, ChildView, FlowView } from "./flow.ts";
import type { ImageJob } from "./images/image-plan.ts";
import type { JobQueue } from "./queue.ts";
import type { Repository } from "./repository.ts";
import { childId, type VolumeJob } from "./run-plan.ts";
import type { RunData } from "./runs.ts";

const stages = { swarm: "starting", nodes: "raft", volumes: "raft", commit: "snapshots" } as const;

export interface ProgressSources {
  queue: JobQueue;
  repository: Repository;
  agents: Agents;
  /** By child id; empty until the volumes are planned. */
  volumes: ReadonlyMap<string, VolumeJob>;
  images: ReadonlyMap<string, ImageJob>;
}

/** `outcomes`: of an open flow's children so far. */
export async function runProgressOf(
  flow: FlowView,
  data: RunData,
  outcomes: ReadonlyMap<string, ChildOutcome>,
  sources: ProgressSources,
): Promise<RunProgress> {
  const pending = await sources.queue.children(await sources.queue.pending(flow.id));
  const parts = [
    ...[...outcomes].flatMap(([id, outcome]) => endedPart(id, outcome, data, sources) ?? []),
    ...pending.flatMap((child) => pendingPart(child, data, sources) ?? []),
  ];
  const { runId: id, trigger, schedule } = data;
  const startedAt = data.startedAt ?? new Date(flow.createdAt).toISOString();
  const stage = stages[data.step];
  return {
    id,
    status: "running",
    stage: pending.length === 0 && stage === "snapshots" ? "commit" : stage,
    trigger,
    schedule,
    startedAt,
    parts,
  };
}

/** A run under way, as a line of the list. */
export function runSummaryOf(flow: FlowView, data: RunData): RunSummary {
  const { runId: id, trigger, schedule } = data;
  const startedAt = data.startedAt ?? new Date(flow.createdAt).toISOString();
  const parts = { done: 0, partial: 0, failed: 0 };
  const sums = { notCovered: 0, warnings: 0, sourceBytes: 0, storedBytes: 0, protection: null };
  return { id, status: "running", trigger, schedule, startedAt, endedAt: null, parts, ...sums };
}

/** Whose part a child is, by its id; null for what is no part of this run. */
function partOf(
  id: string,
  { runId }: RunData,
  { agents, volumes, images }: ProgressSources,
): Pick<PartProgress, "kind" | "name" | "hostname"> | null {
  const volume = volumes.get(id);
  if (volume !== undefined) {
    const { hostname } = volume;
    return { kind: "volume", name: `${hostname}/${volume.volume.name}`, hostname };
  }
  const image = images.get(id);
  if (image !== undefined) return { kind: "image", name: image.name, hostname: image.hostname };
  for (const kind of ["raft", "definitions"] as const) {
    if (id === childId(runId, kind)) return { kind, name: kind, hostname: "" };
  }
  const node = agents.presences().find(({ nodeId }) => id === childId(runId, "node", nodeId));
  return node === undefined ? null : { kind: "node", name: node.hostname, hostname: node.hostname };
}

function endedPart(id: string, outcome: ChildOutcome, data: RunData, sources: ProgressSources): PartProgress | null {
  const part = partOf(id, data, sources);
  if (part === null) return null;
  if (outcome.state === "failed") {
    const { attempts, error } = outcome.failure;
    return { ...part, state: "failed", attempt: attempts, progress: null, error };
  }
  const result = resultOf(id, outcome.value, sources.repository);
  if (result === null || !("part" in result)) return { ...part, state: "done", attempt: 1, progress: null };
  const { status, attempt, totals, error, hostname } = result.part;
  const said = { ...(totals && { totals }), ...(error && { error: { ...error } }) };
  return { ...part, hostname, state: status, attempt, progress: null, ...said };
}

/** Null where it is not authentic: commit says so. */
function resultOf(jobId: string, value: unknown, repository: Repository): TaskResult | null {
  try {
    return openResult(value, jobId, (writerId) => repository.resultKeyOf(writerId)).result;
  } catch {
    return null;
  }
}

function pendingPart(child: ChildView, data: RunData, sources: ProgressSources): PartProgress | null {
  const part = partOf(child.id, data, sources);
  if (part === null) return null;
  const running = child.state === "active" || child.state === "abandoned-by-agent";
  const pending = { ...part, attempt: child.attempts + 1, progress: child.progress };
  if (running) return { ...pending, state: "running" };
  return { ...pending, state: "waiting", ...(child.failure && { error: child.failure }) };
}
