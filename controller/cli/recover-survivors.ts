// Mode quorum: the swarm's state comes from a manager that survived, not from the run; the run gives volumes.
import { openSwarm } from "../../shared/raft/open-swarm.ts";
import { undoHolds } from "../../shared/raft/undo-holds.ts";
import { decodeUnlockKey } from "../../shared/raft/unlock-key.ts";
import type { JournalEvent } from "../recovery/journal.ts";
import { lastEvents, resultIn } from "../recovery/journal.ts";
import type { MachineFacts } from "../recovery/machine-facts.ts";
import { stepIds } from "../recovery/plan-steps.ts";
import { wayOf, type NewerChoice } from "../recovery/quorum/planned-survivor.ts";
import { openSavedCopy, savedPlace } from "../recovery/quorum/saved-copy.ts";
import { stoppedEngine } from "../recovery/quorum/stopped-engine.ts";
import { findSurvivors, type Survivor, type SurvivorChoice } from "../recovery/quorum/survivor.ts";
import type { RecoverySource } from "../recovery/recovery-source.ts";
import type { RemoteMachine } from "../recovery/remote-machine.ts";
import { hostOf } from "../recovery/swarm-steps.ts";
import { readInputFile } from "./input-file.ts";

export interface SurvivorOptions {
  newerEntries?: NewerChoice;
  /** The swarm's present unlock key, where it was rotated since the run. */
  unlockKeyFile?: string;
}

export interface SurvivorTools {
  machines: ReadonlyMap<string, RemoteMachine>;
  facts: ReadonlyMap<string, MachineFacts>;
  folder: string;
  events: readonly JournalEvent[];
  /** `AGE-SECRET-KEY-…`: opens what a call before saved. */
  identity: string;
  /** Ms since 1970. */
  now: number;
  signal: AbortSignal;
}

/** The source with the survivor's state in place of the run's. Throws what findSurvivors and openSavedCopy throw. */
export async function openSurvivors(
  source: RecoverySource,
  options: SurvivorOptions,
  { machines, facts, folder, events, identity, now, signal }: SurvivorTools,
): Promise<{ source: RecoverySource; survivors: SurvivorChoice }> {
  const saved = resultIn(events, stepIds.save);
  const unlockKeys = [
    ...(options.unlockKeyFile === undefined
      ? []
      : [decodeUnlockKey(await readInputFile(options.unlockKeyFile, "the unlock key file"))]),
    ...(source.archive.unlockKey === null ? [] : [source.archive.unlockKey]),
  ];
  const clusterId = source.swarm.state.clusterId;
  const survivors =
    saved === null
      ? await findSurvivors({ machines, facts, clusterId, unlockKeys, signal })
      : await openSavedCopy(folder, saved, identity, signal);
  return {
    source: await withSurvivor(source, survivors.chosen, options.newerEntries ?? null, { now, signal }),
    survivors,
  };
}

/**
 * `now` in ms since 1970: one that is laid down with its newer entries is laid down with holds undone, while one that goes
 * on as it is has agents that end them.
 */
export async function withSurvivor(
  source: RecoverySource,
  { archive, swarm, knownCommit }: Pick<Survivor, "archive" | "swarm" | "knownCommit">,
  choice: NewerChoice | null,
  { now, signal }: Pick<SurvivorTools, "now" | "signal">,
): Promise<RecoverySource> {
  if (wayOf({ newer: swarm.state.newer, choice }) === "force") return { ...source, archive, swarm, undone: [] };
  const reading = { unlockKey: archive.unlockKey, knownCommit, includeNewer: true, signal };
  const whole = await openSwarm(archive.files, reading);
  return { ...source, archive, swarm: whole, undone: undoHolds(whole.state.store, now) };
}

/** What is to be thrown where the machines could not be asked: SKEP_RECOVERY_ENGINE_STOPPED where that is why, else `fault`. */
export async function survivorFault(
  fault: unknown,
  { machines, events, signal }: Pick<SurvivorTools, "machines" | "events" | "signal">,
): Promise<unknown> {
  const place = lastEvents(events).has(stepIds.swarm) ? savedPlace(resultIn(events, stepIds.save)) : null;
  const machine = place === null ? undefined : machines.get(place.machine);
  if (place === null || machine === undefined) return fault;
  return (await stoppedEngine(hostOf(machine), place.dataRoot, signal)) ?? fault;
}
