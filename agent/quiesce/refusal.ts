// Which services are not stopped, because Skep could not be sure to give them back as they were.
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import type { SwarmNode, SwarmService } from "../docker-objects.ts";
import { eligibleNodes, localVolumes } from "./placement.ts";

export interface Refusal {
  reason: TaskResultOf<"hold">["skipped"][number]["reason"];
  /** Goes on after "service NAME is not stopped:". */
  message: string;
  hint: string;
}

/** Of Docker's updater: it is at work, or waits for somebody to decide. */
const openUpdates = new Set(["updating", "paused", "rollback_started", "rollback_paused"]);

/** Null for one that can be held. `sharedVolumes`: names of volumes known to be seen by several nodes. */
export function refusalOf(
  service: SwarmService,
  nodes: readonly SwarmNode[],
  sharedVolumes: ReadonlySet<string>,
): Refusal | null {
  const { Mode, Name } = service.Spec;
  if (!Mode.Replicated && !Mode.Global) {
    return {
      reason: "job",
      message: "it is a job, which any update would run anew",
      hint: "wait for its end, or take its volumes as they are: skep.quiesce=none",
    };
  }
  const state = service.UpdateStatus?.State ?? "";
  if (openUpdates.has(state)) {
    return {
      reason: "update",
      message: `an update of it is under way (${state}), which stopping it would break off`,
      hint: `let it end, or end it: docker service ps ${Name}`,
    };
  }
  // A global service has the same nodes afterwards; one without replicas is not touched by being told to have none.
  if (!Mode.Replicated || Mode.Replicated.Replicas === 0) return null;
  const eligible = eligibleNodes(service, nodes);
  const first = eligible.find(({ Status }) => Status.State === "ready");
  if (first === undefined) {
    return {
      reason: "placement",
      message: "no node that is ready may run it: it would not start again",
      hint: "see its constraints, and the availability of the nodes (docker node ls)",
    };
  }
  const [volume] = localVolumes(service, sharedVolumes);
  if (volume === undefined || eligible.length === 1) return null;
  return {
    reason: "placement",
    message: `its volume ${volume} lies on one node, and it may start on ${eligible.length}`,
    hint: `pin it, e.g. --constraint-add node.hostname==${first.Description.Hostname}, or pause it instead: skep.quiesce=pause`,
  };
}
