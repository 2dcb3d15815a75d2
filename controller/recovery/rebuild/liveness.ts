// Whether a released service runs as its spec says. Swarm calls a task running once its container is healthy, where it has a
// health check.
import { z } from "zod";
import type { EngineTask } from "../../engine/engine.ts";
import type { ServiceSpec } from "../../objects/portable.ts";

export interface Liveness {
  live: boolean;
  /** `2 of 3 tasks run; task abc: no such image`. */
  detail: string;
}

const jobSchema = z.looseObject({ TotalCompletions: z.int().optional() });

/** A swarm makes the tasks of a global service at once, for each node that may have one. 10 s: on a busy manager. */
const noTaskMs = 10_000;

/** `waitedMs`: since the release. */
export function livenessOf(spec: ServiceSpec, tasks: readonly EngineTask[], waitedMs: number): Liveness {
  const running = tasks.filter(({ DesiredState, Status }) => DesiredState === "running" && Status.State === "running");
  if (spec.Mode.Replicated != null) {
    const wanted = Number(spec.Mode.Replicated.Replicas ?? 1);
    return describe(running.length >= wanted, `${running.length} of ${wanted} tasks run`, tasks);
  }
  if (spec.Mode.Global != null) {
    const meant = tasks.filter(({ DesiredState }) => DesiredState === "running");
    if (meant.length === 0) return { live: waitedMs >= noTaskMs, detail: "no node may run it" };
    return describe(meant.length === running.length, `${running.length} of ${meant.length} tasks run`, tasks);
  }
  const complete = tasks.filter(({ Status }) => Status.State === "complete").length;
  const total = jobSchema.safeParse(spec.Mode.ReplicatedJob ?? {}).data?.TotalCompletions ?? 1;
  const wanted = spec.Mode.ReplicatedJob != null ? total : Math.max(1, new Set(tasks.map(({ NodeID }) => NodeID)).size);
  return describe(complete >= wanted, `${complete} of ${wanted} tasks are complete`, tasks);
}

function describe(live: boolean, count: string, tasks: readonly EngineTask[]): Liveness {
  const faults = new Set(tasks.map(({ Status }) => Status.Err ?? "").filter((text) => text !== ""));
  const why = [...faults].slice(0, 3).join("; ");
  return { live, detail: live || why === "" ? count : `${count}: ${why}` };
}
