// What a plan of mode quorum says of the manager that goes on, and which of two ways it takes.
//
// force: the engine itself makes a new cluster of its own state, while it runs (`docker swarm init --force-new-cluster`). The
//   address stays what it is, as it shall, and so do containers of the machine that are not swarm's. Swarm's own tasks there
//   are started anew in either way: a manager that lets go of its cluster lets go of its tasks (swarmkit node.Stop). What
//   stands in the log above the commit index that the engine knows is dropped; on stopping it writes that index to its disk.
// rebase: Skep lays the state down with those entries, as it does for a restore. The engine must be stopped for that, and with
//   it every container of the machine. Taken only where such entries are there and are to be kept.
// On other nodes no task is touched in either way.
import { ownAddress } from "../../../shared/raft/forced-start.ts";
import type { NewerEntry } from "../../../shared/raft/newer-entries.ts";
import type { SurvivorChoice } from "./survivor.ts";

export type NewerChoice = "keep" | "drop";

export interface PlannedSurvivor {
  machine: string;
  nodeId: string;
  hostname: string;
  /** IP address and port at which the other nodes know it. */
  host: string;
  port: number;
  term: number;
  /** As known: by its disk, or by what its API shows. */
  commitIndex: number;
  lastIndex: number;
  /** Managers that the swarm counted, and how many of them a majority is. */
  managers: number;
  majority: number;
  newer: NewerEntry[];
  choice: NewerChoice | null;
  /** Managers that survive besides it: they leave the old quorum and come into the new one, their tasks run on. */
  others: { machine: string; nodeId: string }[];
  locked: boolean;
}

export function planSurvivor({ chosen, others }: SurvivorChoice, choice: NewerChoice | null): PlannedSurvivor {
  const { state } = chosen.swarm;
  const { members } = state.membership;
  const address = ownAddress(state) ?? { host: "", port: 0 };
  return {
    machine: chosen.machine,
    nodeId: state.member.nodeId,
    hostname: chosen.hostname,
    ...address,
    term: state.proof.term,
    commitIndex: Math.max(state.proof.commitIndex, chosen.knownCommit),
    lastIndex: state.proof.lastIndex,
    managers: members.size,
    majority: Math.floor(members.size / 2) + 1,
    newer: state.newer,
    choice,
    others: others.filter(({ nodeId }) => [...members.values()].some((member) => member.nodeId === nodeId)),
    locked: state.proof.locked,
  };
}

/** Somebody ordered something; the rest swarm notes again by itself. */
export function isOfConsequence({ changes }: NewerEntry): boolean {
  return changes.some(({ ordered }) => ordered);
}

export function wayOf({ newer, choice }: Pick<PlannedSurvivor, "newer" | "choice">): "force" | "rebase" {
  return choice === "keep" && newer.length > 0 ? "rebase" : "force";
}

export function entryText({ index, term, changes }: NewerEntry): string {
  const what = changes.map(({ what, kind, id, name }) =>
    what === "membership" ? "a change of managers" : `${what} ${kind} ${name === "" ? id : name}`,
  );
  return `entry ${index} (term ${term}): ${what.length === 0 ? "a new leader's mark" : what.join(", ")}`;
}
