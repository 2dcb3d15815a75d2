// What an agent does for a run: takes one part, puts it into the store, and says what it took. It holds the
// recipients only: nothing that it reaches can open what it wrote.
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import type { Job, TaskOf, TaskResult, TaskResultOf } from "../shared/contract/job.ts";
import { SkepError } from "../shared/errors.ts";
import { raftArchiveFiles } from "../shared/raft/archive-layout.ts";
import { writeMarker, type OwnNode } from "../shared/raft/marker.ts";
import { decodeUnlockKey } from "../shared/raft/unlock-key.ts";
import { backupDump } from "./backup-dump.ts";
import { backupImage } from "./backup-image.ts";
import { backupVolume } from "./backup-volume.ts";
import type { AgentContext, Attempt, QuietTools } from "./context.ts";
import type { Docker } from "./docker.ts";
import type { EngineInfo, SwarmNode } from "./docker-objects.ts";
import { resolveHostPath } from "./host-path.ts";
import { nodeIdentity } from "./node-identity.ts";
import { findOwnContainer } from "./own-container.ts";
import { cutWarnings, partOf, storeArchive } from "./part.ts";
import { readDefinitions } from "./source/definitions.ts";
import { readNodeFacts } from "./source/node.ts";
import { takeRaftCopy } from "./source/raft.ts";
import { explainFullState, explainStateError } from "./state-error.ts";

export type BackupTask = TaskOf<"raft" | "definitions" | "node" | "volume" | "dump" | "image">;

export function backup(
  job: Job,
  task: BackupTask,
  context: AgentContext,
  tools: QuietTools,
  attempt: Attempt,
): Promise<TaskResult> {
  switch (task.kind) {
    case "raft":
      return backupRaft(task, context, attempt);
    case "definitions":
      return backupDefinitions(task, context, attempt);
    case "node":
      return backupNode(task, context, attempt);
    case "volume":
      return backupVolume(job, task, context, tools, attempt);
    case "dump":
      return backupDump(task, context, attempt);
    case "image":
      return backupImage(task, context, attempt);
  }
}

/** Raft state of this manager. Throws SKEP_RAFT_… where no copy could be proven. */
async function backupRaft(
  task: TaskOf<"raft">,
  context: AgentContext,
  attempt: Attempt,
): Promise<TaskResultOf<"raft">> {
  const startedAt = new Date();
  const info = await managerInfo(context.docker, attempt.signal);
  const swarmDirectory = await resolveHostPath(context.hostRoot, path.join(info.DockerRootDir, "swarm"));
  const stagingDirectory = await makeStaging(context.stateDir);
  try {
    const copy = await takeRaftCopy({
      swarmDirectory,
      stagingDirectory,
      markerWrite: () => writeMarker(ownNode(context.docker, info.Swarm.NodeID, attempt.signal)),
      unlockKey: async () => decodeUnlockKey(await context.docker.unlockKey(attempt.signal)),
      signal: attempt.signal,
    }).catch((error: unknown) => {
      throw explainFullState(error, "copy the Raft state", context.stateDir);
    });
    const mtimeMs = startedAt.getTime();
    const files = [...raftArchiveFiles(copy)].map((file) => ({ ...file, mtimeMs }));
    const stored = await storeArchive(files, task.runId, context, attempt.signal);
    const warnings = copy.warnings.map((message) => ({ code: "SKEP_RAFT_COPY_WARNING", message }));
    const subject = { kind: "raft", name: "raft", hostname: info.Name } as const;
    const part = partOf(subject, context, attempt, startedAt);
    const proof = { status: "done", raft: { ...copy.proof, engineVersion: info.ServerVersion } } as const;
    return { kind: "raft", part: { ...part, ...cutWarnings(warnings, 0), ...stored, ...proof } };
  } finally {
    await rm(stagingDirectory, { recursive: true, force: true });
  }
}

/** Throws SKEP_DOCKER_NOT_MANAGER on a worker, and where there is no swarm. */
async function managerInfo(docker: Docker, signal: AbortSignal): Promise<EngineInfo> {
  const info = await docker.info(signal);
  if (nodeIdentity(info).role === "manager") return info;
  throw new SkepError({
    code: "SKEP_DOCKER_NOT_MANAGER",
    message: `${info.Name} is no manager of a swarm`,
    permanent: true,
    hint: "this can only be done on a manager",
  });
}

async function makeStaging(stateDir: string): Promise<string> {
  const staging = path.join(stateDir, "staging");
  try {
    await mkdir(staging, { recursive: true, mode: 0o700 });
    return await mkdtemp(path.join(staging, "raft-"));
  } catch (error) {
    throw explainStateError(error, "copy the Raft state", stateDir);
  }
}

function ownNode(docker: Docker, nodeId: string, signal: AbortSignal): OwnNode<SwarmNode["Spec"]> {
  return {
    read: async () => {
      const { Version, Spec } = await docker.node(nodeId, signal);
      return { version: Version.Index, spec: Spec };
    },
    write: (version, spec) => docker.updateNode(nodeId, version, spec, signal),
  };
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
  const subject = { kind: "node", name: info.Name, hostname: info.Name } as const;
  return {
    kind: "node",
    part: {
      ...partOf(subject, context, attempt, startedAt),
      ...stored,
      status: "done",
      ...cutWarnings(facts.warnings, 0),
    },
    volumes: facts.volumes,
    images: facts.images,
    notCovered: facts.notCovered,
  };
}
