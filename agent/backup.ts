// What an agent does for a run: takes one part, puts it into the store, and says what it took. It holds the
// recipients only: nothing that it reaches can open what it wrote.
import type { Job, TaskOf } from "../shared/contract/job.ts";
import type { TaskResult, TaskResultOf } from "../shared/contract/task-result.ts";
import { backupDump } from "./backup-dump.ts";
import { backupImage } from "./backup-image.ts";
import { backupVolume } from "./backup-volume.ts";
import type { AgentContext, Attempt, QuietTools } from "./context.ts";
import { compareNodeCache } from "./node-cache.ts";
import { managerInfo } from "./node-identity.ts";
import { findOwnContainer } from "./own-container.ts";
import { cutWarnings, partOf, storeArchive } from "./part.ts";
import { readDefinitions } from "./source/definitions.ts";
import { readNodeFacts } from "./source/node.ts";

export type BackupTask = TaskOf<"raft" | "definitions" | "node" | "volume" | "dump" | "image">;

export async function backup(
  job: Job,
  task: BackupTask,
  context: AgentContext,
  tools: QuietTools,
  attempt: Attempt,
): Promise<TaskResult> {
  switch (task.kind) {
    case "raft":
      // Only here: what reads Raft state is half of all that an agent loads, and most jobs are of volumes.
      return await (await import("./backup-raft.ts")).backupRaft(task, context, attempt);
    case "definitions":
      return await backupDefinitions(task, context, attempt);
    case "node":
      return await backupNode(task, context, attempt);
    case "volume":
      return await backupVolume(job, task, context, tools, attempt);
    case "dump":
      return await backupDump(task, context, attempt);
    case "image":
      return await backupImage(task, context, attempt);
  }
}

async function backupDefinitions(
  task: TaskOf<"definitions">,
  context: AgentContext,
  attempt: Attempt,
): Promise<TaskResultOf<"definitions">> {
  const startedAt = new Date();
  const info = await managerInfo(context.docker, attempt.signal);
  const read = await readDefinitions(context.docker, info.Swarm.Cluster?.ID ?? "", attempt.signal);
  const stored = await storeArchive(read.files, task.runId, context, attempt.signal);
  const subject = { kind: "definitions", name: "definitions", hostname: info.Name } as const;
  return {
    kind: "definitions",
    part: { ...partOf(subject, context, attempt, startedAt), ...stored, status: "done" },
    clusterId: read.clusterId,
    nodes: read.nodes,
    services: read.services,
  };
}

async function backupNode(
  task: TaskOf<"node">,
  context: AgentContext,
  attempt: Attempt,
): Promise<TaskResultOf<"node">> {
  const startedAt = new Date();
  const { docker, hostRoot } = context;
  const info = await docker.info(attempt.signal);
  const own = await findOwnContainer(docker, attempt.signal);
  const host = { root: hostRoot, ownContainerId: own?.id ?? null, stateDir: context.stateDir };
  const facts = await readNodeFacts(docker, info, host, startedAt.getTime(), attempt.signal);
  const stored = await storeArchive(facts.files, task.runId, context, attempt.signal);
  const warnings = [...facts.warnings, ...(await compareNodeCache(context, task.runId, attempt.signal))];
  const subject = { kind: "node", name: info.Name, hostname: info.Name } as const;
  return {
    kind: "node",
    part: {
      ...partOf(subject, context, attempt, startedAt),
      ...stored,
      status: "done",
      ...cutWarnings(warnings, 0),
    },
    volumes: facts.volumes,
    images: facts.images,
    notCovered: facts.notCovered,
  };
}
