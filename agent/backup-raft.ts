// The Raft part of a run: this manager's state, copied hot and proven, as an archive in the store.
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import type { TaskOf } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { raftArchiveFiles } from "../shared/raft/archive-layout.ts";
import { writeMarker, type OwnNode } from "../shared/raft/marker.ts";
import { decodeUnlockKey } from "../shared/raft/unlock-key.ts";
import type { AgentContext, Attempt } from "./context.ts";
import type { Docker } from "./docker.ts";
import type { SwarmNode } from "./docker-objects.ts";
import { resolveHostPath } from "./host-path.ts";
import { managerInfo } from "./node-identity.ts";
import { cutWarnings, partOf, storeArchive } from "./part.ts";
import { takeRaftCopy } from "./source/raft.ts";
import { explainFullState, explainStateError } from "./state-error.ts";

/** Raft state of this manager. Throws SKEP_RAFT_… where no copy could be proven. */
export async function backupRaft(
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
