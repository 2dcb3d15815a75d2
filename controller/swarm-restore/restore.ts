// A swarm onto a host: laid down, started, and checked. The same for this machine and for one over SSH.
import { setTimeout as wait } from "node:timers/promises";
import { z } from "zod";
import { SkepError, toErrorRecord } from "../../shared/errors.ts";
import type { RebasedSwarm } from "../../shared/raft/rebase.ts";
import { encodeUnlockKey } from "../../shared/raft/unlock-key.ts";
import { checkRestored, type RestoreCheck } from "./check.ts";
import { mustRun, type SwarmHost } from "./host.ts";
import { howToGoBack, isJournalOf, journalName, readJournal, type RestoreJournal } from "./journal.ts";
import { layDown, startEngine } from "./lay-down.ts";

export interface RestoreOptions {
  host: SwarmHost;
  dataRoot: string;
  rebased: RebasedSwarm;
  /** Unlocks the engine where the directory was laid down locked; null where the swarm was not. */
  unlockKey: Uint8Array | null;
  /** 12 of `[a-z0-9]`, fresh. */
  id: string;
  /** Milliseconds since 1970. */
  now: number;
  onStep: (step: string) => void;
  signal: AbortSignal;
  limits?: Partial<RestoreLimits>;
}

export interface RestoreLimits {
  /** From the engine's start until it is an active manager. */
  activeMs: number;
  /** From then until the API says what the state says. */
  checkMs: number;
}

export const defaultRestoreLimits: RestoreLimits = { activeMs: 180_000, checkMs: 60_000 };

export interface RestoreReport extends RestoreCheck {
  /** Folders with what was there before. */
  kept: string[];
}

/**
 * Begins, or goes on where an earlier call was cut off. Throws SKEP_SWARM_RESTORE_UNFINISHED where one of another state
 * is under way, SKEP_SWARM_RESTORE_NOT_ACTIVE, SKEP_SWARM_RESTORE_DIFFERS, and what layDown throws; the hint then says how
 * to go on, and how to go back.
 */
export async function restoreSwarm(options: RestoreOptions): Promise<RestoreReport> {
  const { host, dataRoot, rebased, onStep, signal } = options;
  const limits = { ...defaultRestoreLimits, ...options.limits };
  const former = await readJournal(host, dataRoot, signal);
  if (former !== null && !isJournalOf(former, rebased)) {
    throw unfinished(host, former, await howToGoBack(host, dataRoot, signal));
  }
  try {
    const isLaid = former?.phase === "laid";
    if (isLaid) onStep("the directory is in its place already: going on from there");
    const { kept } = isLaid ? former : await layDown({ ...options, former });
    onStep("starting the engine");
    await startEngine(host, signal);
    await awaitManager(options, limits.activeMs);
    onStep("asking the engine for every object");
    const check = await awaitAgreement(options, limits.checkMs);
    await removeJournal(host, dataRoot, signal);
    return { ...check, kept };
  } catch (error) {
    throw await withWayOut(error, host, dataRoot);
  }
}

/**
 * Of a swarm that runs on the host: a call that laid it down and was cut off before its end is over, and stands in the way
 * of no later one. The folders with what was there before.
 */
export async function endRestore(
  host: SwarmHost,
  dataRoot: string,
  { clusterId, nodeId }: { clusterId: string; nodeId: string },
  signal: AbortSignal,
): Promise<string[]> {
  const journal = await readJournal(host, dataRoot, signal);
  if (journal?.phase !== "laid" || journal.clusterId !== clusterId || journal.nodeId !== nodeId) return [];
  await removeJournal(host, dataRoot, signal);
  return journal.kept;
}

async function removeJournal(host: SwarmHost, dataRoot: string, signal: AbortSignal): Promise<void> {
  await mustRun(host, ["rm", "-f", `${dataRoot}/${journalName}`], { signal });
}

/** The host is asked once more, whatever was aborted; where it is gone, its journal tells it to who finds it. */
async function withWayOut(error: unknown, host: SwarmHost, dataRoot: string): Promise<SkepError> {
  const { signal } = new AbortController();
  const back = await howToGoBack(host, dataRoot, signal).catch(
    () => `${dataRoot}/${journalName} on ${host.name} says where what was there lies`,
  );
  const record = toErrorRecord(error);
  const hints = [record.hint, "the same command completes it", back === "" ? undefined : `to go back: ${back}`];
  return new SkepError({ ...record, hint: hints.filter((hint) => hint !== undefined).join("; "), cause: error });
}

function unfinished(host: SwarmHost, journal: RestoreJournal, back: string): SkepError {
  const { clusterId, appliedIndex, address } = journal;
  return new SkepError({
    code: "SKEP_SWARM_RESTORE_UNFINISHED",
    message: `on ${host.name} a restore of cluster ${clusterId} at index ${appliedIndex} to ${address} was not finished`,
    permanent: true,
    hint: `finish it with its own file, address and holds, or go back: ${back}`,
  });
}

const infoSchema = z.looseObject({
  Swarm: z.looseObject({ LocalNodeState: z.string(), ControlAvailable: z.boolean(), Error: z.string() }),
});

async function awaitManager({ host, unlockKey, onStep, signal }: RestoreOptions, limitMs: number): Promise<void> {
  const deadline = performance.now() + limitMs;
  let last = "it does not answer";
  let isUnlocking = false;
  do {
    try {
      const { Swarm } = infoSchema.parse(await host.askEngine({ path: "/info" }, signal));
      if (Swarm.LocalNodeState === "active" && Swarm.ControlAvailable) return;
      last = `it is ${Swarm.LocalNodeState}${Swarm.Error === "" ? "" : `: ${Swarm.Error}`}`;
      if (Swarm.LocalNodeState === "locked" && unlockKey !== null) {
        if (!isUnlocking) onStep("unlocking the engine with the unlock key of the copy");
        isUnlocking = true;
        const body = { UnlockKey: encodeUnlockKey(unlockKey) };
        await host.askEngine({ method: "POST", path: "/swarm/unlock", body }, signal);
      }
    } catch (error) {
      signal.throwIfAborted();
      last = toErrorRecord(error).message;
    }
    await wait(200, undefined, { signal });
  } while (performance.now() < deadline);
  throw new SkepError({
    code: "SKEP_SWARM_RESTORE_NOT_ACTIVE",
    message: `the engine of ${host.name} did not become a manager within ${Math.round(limitMs / 1000)} s: ${last}`,
    permanent: false,
    hint: "read its log: journalctl -u docker",
  });
}

/** Throws SKEP_SWARM_RESTORE_DIFFERS where the API still says something else at the end. */
export async function awaitAgreement(
  { host, rebased, signal }: Pick<RestoreOptions, "host" | "signal"> & { rebased: Pick<RebasedSwarm, "state"> },
  limitMs: number,
): Promise<RestoreCheck> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    let fault: unknown;
    try {
      const check = await checkRestored(rebased.state, host, signal);
      if (check.differences.length === 0) return check;
      fault = differs(host, check);
    } catch (error) {
      signal.throwIfAborted();
      fault = error;
    }
    if (performance.now() >= deadline) throw fault;
    await wait(500, undefined, { signal });
  }
}

/** Named in the message; more are only counted. */
const namedDifferences = 10;

function differs(host: SwarmHost, { differences }: RestoreCheck): SkepError {
  const named = differences
    .slice(0, namedDifferences)
    .map(
      ({ kind, id, name, what }) =>
        `${kind} ${name === "" ? id : name} (${what === "missing" ? what : what.join(", ")})`,
    );
  const more = differences.length > named.length ? `, and ${differences.length - named.length} more` : "";
  return new SkepError({
    code: "SKEP_SWARM_RESTORE_DIFFERS",
    message: `the engine of ${host.name} does not say what was laid down: ${named.join(", ")}${more}`,
    permanent: false,
    hint: "compare them: skep raft get FILE KIND NAME, and docker KIND inspect",
  });
}
