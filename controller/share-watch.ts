// A volume that several nodes share is read by one of them, and each of the others sees meanwhile that nothing there
// uses it: from when all is quiet until all is read, before anything goes on. Without their word it is not called quiet.
import type { Task, TaskOf } from "../shared/contract/job.ts";
import { childId, type VolumeJob } from "./run-plan.ts";

export interface ShareWatch {
  nodeId: string;
  /** Child ids. */
  watchId: string;
  proveId: string;
  volumes: TaskOf<"watch">["volumes"];
}

/** `how`: each is to be quiet; null for one that is not. */
export function watchesOf(
  runId: string,
  unitId: string,
  members: readonly { job: VolumeJob; how: "pause" | "stop" | null }[],
): ShareWatch[] {
  const watches = new Map<string, ShareWatch>();
  for (const { job, how } of members) {
    if (how === null) continue;
    for (const { nodeId, name } of job.views) {
      if (nodeId === job.nodeId) continue;
      const watch = watches.get(nodeId) ?? {
        nodeId,
        watchId: childId(runId, "watch", nodeId, unitId),
        proveId: childId(runId, "prove", nodeId, unitId),
        volumes: [],
      };
      watches.set(nodeId, watch);
      watch.volumes.push({ volume: name, how });
    }
  }
  return [...watches.values()];
}

const watchTimeoutMs = 120_000;

/** What a watch's children are told; null for an id that is none of them. */
export function watchOrder(
  watches: readonly ShareWatch[],
  unitId: string,
  id: string,
  deadlineAt: string,
): { nodeId: string; task: Task; timeoutMs: number } | null {
  for (const { nodeId, watchId, proveId, volumes } of watches) {
    const timeoutMs = watchTimeoutMs;
    if (id === watchId) return { nodeId, task: { kind: "watch", watchId: unitId, volumes, deadlineAt }, timeoutMs };
    if (id === proveId) return { nodeId, task: { kind: "prove", watchId: unitId }, timeoutMs };
  }
  return null;
}
