// Which services a restore holds: those that are named, or all but Skep's own.
import { SkepError } from "../../../shared/errors.ts";
import { listObjects } from "../../../shared/raft/open-swarm.ts";
import type { SwarmState } from "../../../shared/raft/read-swarm.ts";
import type { RebaseOptions } from "../../../shared/raft/rebase.ts";
import { ownLabel } from "../../recovery/swarm-view.ts";

export interface HoldOptions {
  hold?: string[];
  holdAll?: boolean;
}

/** Undefined for none. Throws SKEP_CLI_USAGE where a name is of no service. */
export function chosenToHold(state: SwarmState, { hold, holdAll }: HoldOptions): RebaseOptions["hold"] {
  if (holdAll === true) return ({ spec }) => spec?.annotations?.labels[ownLabel] !== "true";
  if (hold === undefined) return undefined;
  const services = listObjects(state, "service");
  const ids = new Set<string>();
  const unknown: string[] = [];
  for (const name of hold) {
    const found = services.filter((service) => service.id === name || service.name === name);
    if (found.length === 0) unknown.push(name);
    for (const { id } of found) ids.add(id);
  }
  if (unknown.length > 0) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: `the state has no service ${unknown.join(", ")}`,
      permanent: true,
      hint: "skep raft ls FILE --kind service names them",
    });
  }
  return ({ id }) => ids.has(id);
}
