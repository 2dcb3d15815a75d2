// The surviving manager becomes the swarm's only one. Both ways (planned-survivor.ts) end with the same look at every object.
// Before either, its log is read once more: a commit index that moved says that its managers are a majority again; and the
// fence is raised again: hours of volumes lie between, or the days until a recovery goes on.
import { z } from "zod";
import { SkepError, toErrorRecord } from "../../../shared/errors.ts";
import { forcedStart } from "../../../shared/raft/forced-start.ts";
import { readSwarm } from "../../../shared/raft/read-swarm.ts";
import { rebaseSwarm } from "../../../shared/raft/rebase.ts";
import { writeFile, type SwarmHost } from "../../swarm-restore/host.ts";
import { howToGoBack, journalName, readJournal, type RestoreJournal } from "../../swarm-restore/journal.ts";
import { awaitAgreement } from "../../swarm-restore/restore.ts";
import { raiseFence } from "../fence-step.ts";
import type { StepResult } from "../journal.ts";
import { firstMachine, machineOf, type RecoveryTools } from "../recovery-tools.ts";
import type { StepContext } from "../steps.ts";
import { certificatesOf, hostOf, layDownOnFirst, requiredFile } from "../swarm-steps.ts";
import { findSurvivors, type Survivor } from "./survivor.ts";
import { wayOf } from "./planned-survivor.ts";

const agreeMs = 60_000;
const keyFilePath = "certificates/swarm-node.key";

/** Null where the survivor is not the swarm's only manager yet. Throws SKEP_SWARM_RESTORE_DIFFERS where it is, of another state. */
export async function findLead(
  tools: RecoveryTools,
  { signal }: StepContext,
  limitMs = agreeMs,
): Promise<StepResult | null> {
  // Its directory may lie elsewhere at this moment.
  if ((await layingDown(tools, signal)) !== null) return null;
  const { state } = (await survivorNow(tools, signal)).swarm;
  const alone = [...state.membership.members.values()].every(({ nodeId }) => nodeId === state.member.nodeId);
  if (!alone || !(await leads(tools, signal))) return null;
  const compared = await agreement(tools, hostOf(machineOf(tools, firstMachine(tools).name)), limitMs, signal);
  return { nodeId: state.member.nodeId, before: true, compared };
}

/** What the machine says of a directory that was being laid down when a call before was cut off. */
async function layingDown(tools: RecoveryTools, signal: AbortSignal): Promise<RestoreJournal | null> {
  const { name, facts } = firstMachine(tools);
  const journal = await readJournal(hostOf(machineOf(tools, name)), facts.dataRoot, signal);
  // One of a restore long ago, whose end was never looked at, is of a state that this swarm went on from.
  return journal !== null && journal.appliedIndex > (tools.plan.survivor?.commitIndex ?? 0) ? journal : null;
}

/** As it is at this moment; its choice of machine was made by the plan. */
async function survivorNow(tools: RecoveryTools, signal: AbortSignal): Promise<Survivor> {
  const { name, facts } = firstMachine(tools);
  const { chosen } = await findSurvivors({
    machines: tools.machines,
    facts: new Map([[name, { ...facts, isManager: true }]]),
    clusterId: tools.plan.clusterId,
    unlockKeys: unlockKeysOf(tools),
    signal,
  });
  return chosen;
}

function unlockKeysOf({ source }: RecoveryTools): Uint8Array[] {
  return source.archive.unlockKey === null ? [] : [source.archive.unlockKey];
}

async function leads(tools: RecoveryTools, signal: AbortSignal): Promise<boolean> {
  return await answers(hostOf(machineOf(tools, firstMachine(tools).name)), signal);
}

async function answers(host: SwarmHost, signal: AbortSignal): Promise<boolean> {
  try {
    await host.askEngine({ path: "/swarm" }, signal);
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SkepError && error.code.startsWith("SKEP_DOCKER_")) return false;
    throw error;
  }
}

export async function takeLead(tools: RecoveryTools, context: StepContext): Promise<StepResult> {
  const { survivor } = tools.plan;
  if (survivor === null) throw new TypeError("mode quorum without a survivor");
  const way = wayOf(survivor);
  const common = { nodeId: survivor.nodeId, index: tools.source.swarm.state.appliedIndex, way };
  const former = await layingDown(tools, context.signal);
  if (former !== null && way === "force") throw await choiceChanged(tools, context.signal);
  if (former !== null && former.phase !== "staging") {
    await raiseFence(tools, null, context);
    return { ...common, ...(await rebase(tools, context)) };
  }
  const now = await survivorNow(tools, context.signal);
  const { proof } = now.swarm.state;
  // A member that is alone was made so by a call before, which was cut off. Its own attempts to write may have made the log
  // longer; only a majority could have moved its commit index.
  const isAlone = now.swarm.state.membership.members.size <= 1;
  if (!isAlone && proof.commitIndex > survivor.commitIndex) {
    throw new SkepError({
      code: "SKEP_RECOVERY_QUORUM",
      message: `${survivor.machine} has committed up to ${proof.commitIndex}, and had up to ${survivor.commitIndex} when it was saved: its managers are a majority again`,
      permanent: true,
      hint: "did a lost manager come back? Look there first, then begin anew: --journal FOLDER",
    });
  }
  if (!isAlone) await raiseFence(tools, null, context);
  return way === "force"
    ? { ...common, ...(await force(tools, now, context)) }
    : { ...common, ...(await rebase(tools, context)) };
}

async function choiceChanged(tools: RecoveryTools, signal: AbortSignal): Promise<SkepError> {
  const { name, facts } = firstMachine(tools);
  const back = await howToGoBack(hostOf(machineOf(tools, name)), facts.dataRoot, signal);
  return new SkepError({
    code: "SKEP_SWARM_RESTORE_UNFINISHED",
    message: `${facts.dataRoot}/${journalName} on ${name} says that a swarm directory is being laid down, as --newer-entries keep does`,
    permanent: true,
    hint: `go on with --newer-entries keep, or go back on ${name} first: ${back}`,
  });
}

const engineStateSchema = z.looseObject({ DataPathAddr: z.string() });
const initTimeoutMs = 180_000;

async function force(tools: RecoveryTools, { swarm, archive }: Survivor, context: StepContext): Promise<StepResult> {
  const { signal } = context;
  const first = firstMachine(tools);
  const machine = machineOf(tools, first.name);
  const host = hostOf(machine);
  const engineState = await requiredFile(archive.files, "docker-state.json");
  const start = forcedStart(swarm.state, archive.unlockKey, engineState);
  // The plan refused a survivor without an address.
  if (start === null) throw new TypeError(`${first.name} has no address`);
  const { keyFile, body } = start;
  const path = `${first.facts.dataRoot}/swarm/${keyFilePath}`;
  const locked = swarm.state.proof.locked ? await requiredFile(archive.files, keyFilePath) : null;
  if (locked !== null) {
    context.onProgress("writing its key file in clear, for the start", null);
    await writeFile(host, { path, mode: 0o600, bytes: keyFile }, signal);
  }
  context.onProgress("making it a cluster of its own", null);
  try {
    await machine.askEngine({ method: "POST", path: "/swarm/init", body, timeoutMs: initTimeoutMs }, signal);
  } catch (error) {
    // It is in clear already where a call before was killed here.
    if (locked === null && tools.plan.survivor?.locked !== true) throw error;
    throw await lockedAgain(error, host, path, locked);
  }
  context.onProgress("asking the engine for every object", null);
  return { compared: await agreement(tools, host, agreeMs, signal) };
}

/**
 * What to throw after an init that failed. Where the engine refused it, it has ended, and the key file is as it was; an
 * engine that did not answer may still read it. A host is asked once more, whatever was aborted.
 */
export async function lockedAgain(
  error: unknown,
  host: SwarmHost,
  path: string,
  /** What was at `path` before; null where that is not known. */
  locked: Uint8Array | null,
): Promise<unknown> {
  const record = toErrorRecord(error);
  const { signal } = new AbortController();
  try {
    if (locked !== null && record.code.startsWith("SKEP_DOCKER_") && record.code !== "SKEP_DOCKER_UNREACHABLE") {
      // One that leads writes its key file itself.
      if (!(await answers(host, signal))) await writeFile(host, { path, mode: 0o600, bytes: locked }, signal);
      return error;
    }
  } catch {
    // Told with what went wrong before.
  }
  const clear = `${path} on ${host.name} may be in clear, though the swarm is autolocked: run the same command again, and if it is given up, docker swarm unlock-key --rotate once the swarm lives`;
  return new SkepError({
    ...record,
    hint: [record.hint, clear].filter((hint) => hint !== undefined).join("; "),
    cause: error,
  });
}

/** With what was known to be committed; or, of networks' last entries, whose versions no API shows, with what came after. */
async function agreement(
  tools: RecoveryTools,
  host: SwarmHost,
  limitMs: number,
  signal: AbortSignal,
): Promise<unknown> {
  const { swarm, archive } = tools.source;
  try {
    return (await awaitAgreement({ host, rebased: swarm, signal }, limitMs)).compared;
  } catch (error) {
    if (swarm.state.newer.length === 0) throw error;
    const state = await readSwarm(archive.files, { unlockKey: archive.unlockKey, includeNewer: true, signal });
    return (await awaitAgreement({ host, rebased: { state }, signal }, limitMs)).compared;
  }
}

async function rebase(tools: RecoveryTools, context: StepContext): Promise<StepResult> {
  const first = firstMachine(tools);
  const { archive, swarm, undone } = tools.source;
  const { survivor } = tools.plan;
  const engine = engineStateSchema.parse(
    JSON.parse(Buffer.from(await requiredFile(archive.files, "docker-state.json")).toString("utf8")),
  );
  const rebased = await rebaseSwarm(swarm.state, await certificatesOf(archive.files), {
    advertiseAddress: first.advertise,
    ...(survivor !== null && { port: survivor.port }),
    ...(engine.DataPathAddr !== "" && { dataPathAddress: engine.DataPathAddr }),
    unlockKey: archive.unlockKey,
    unlocked: true,
    now: tools.now(),
  });
  const report = await layDownOnFirst(tools, rebased, context);
  return { compared: report.compared, kept: report.kept, undone: undone.map(({ name }) => name) };
}
