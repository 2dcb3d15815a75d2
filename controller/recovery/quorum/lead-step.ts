// The surviving manager becomes the swarm's only one. Both ways (planned-survivor.ts) end with the same look at every object.
// Before either, its log is read once more: a commit index that moved says that its managers are a majority again.
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import { forcedStart } from "../../../shared/raft/forced-start.ts";
import { readSwarm } from "../../../shared/raft/read-swarm.ts";
import { rebaseSwarm } from "../../../shared/raft/rebase.ts";
import { writeFile, type SwarmHost } from "../../swarm-restore/host.ts";
import { awaitAgreement, restoreSwarm } from "../../swarm-restore/restore.ts";
import type { StepResult } from "../journal.ts";
import { derivedId, firstMachine, machineOf, type RecoveryTools } from "../recovery-tools.ts";
import type { StepContext } from "../steps.ts";
import { hostOf, requiredFile } from "../swarm-steps.ts";
import { findSurvivors, type Survivor } from "./survivor.ts";
import { wayOf } from "./planned-survivor.ts";

const agreeMs = 60_000;

/** Null where the survivor is not the swarm's only manager yet. */
export async function findLead(tools: RecoveryTools, { signal }: StepContext): Promise<StepResult | null> {
  const { state } = (await survivorNow(tools, signal)).swarm;
  const alone = [...state.membership.members.values()].every(({ nodeId }) => nodeId === state.member.nodeId);
  return alone && (await leads(tools, signal)) ? { nodeId: state.member.nodeId, before: true } : null;
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
  const machine = machineOf(tools, firstMachine(tools).name);
  try {
    await machine.askEngine({ path: "/swarm" }, signal);
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
  const now = await survivorNow(tools, context.signal);
  const { proof } = now.swarm.state;
  // A member that is alone was made so by a call before, which was cut off. Its own attempts to write may have made the log
  // longer; only a majority could have moved its commit index.
  if (now.swarm.state.membership.members.size > 1 && proof.commitIndex > survivor.commitIndex) {
    throw new SkepError({
      code: "SKEP_RECOVERY_QUORUM",
      message: `${survivor.machine} has committed up to ${proof.commitIndex}, and had up to ${survivor.commitIndex} when it was saved: its managers are a majority again`,
      permanent: true,
      hint: "did a lost manager come back? Look there first, then begin anew: --journal FOLDER",
    });
  }
  const common = { nodeId: survivor.nodeId, index: tools.source.swarm.state.appliedIndex, way };
  return way === "force"
    ? { ...common, ...(await force(tools, now, context)) }
    : { ...common, ...(await rebase(tools, context)) };
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
  if (swarm.state.proof.locked) {
    context.onProgress("writing its key file in clear, for the start", null);
    const path = `${first.facts.dataRoot}/swarm/certificates/swarm-node.key`;
    await writeFile(host, { path, mode: 0o600, bytes: keyFile }, signal);
  }
  context.onProgress("making it a cluster of its own", null);
  await machine.askEngine({ method: "POST", path: "/swarm/init", body, timeoutMs: initTimeoutMs }, signal);
  context.onProgress("asking the engine for every object", null);
  return { compared: await agreement(tools, host, signal) };
}

/** With what was known to be committed; or, of networks' last entries, whose versions no API shows, with what came after. */
async function agreement(tools: RecoveryTools, host: SwarmHost, signal: AbortSignal): Promise<unknown> {
  const { swarm, archive } = tools.source;
  try {
    return (await awaitAgreement({ host, rebased: swarm, signal }, agreeMs)).compared;
  } catch (error) {
    if (swarm.state.newer.length === 0) throw error;
    const state = await readSwarm(archive.files, { unlockKey: archive.unlockKey, includeNewer: true, signal });
    return (await awaitAgreement({ host, rebased: { state }, signal }, agreeMs)).compared;
  }
}

async function rebase(tools: RecoveryTools, context: StepContext): Promise<StepResult> {
  const { signal } = context;
  const first = firstMachine(tools);
  const { archive, swarm } = tools.source;
  const { survivor } = tools.plan;
  const engine = engineStateSchema.parse(
    JSON.parse(Buffer.from(await requiredFile(archive.files, "docker-state.json")).toString("utf8")),
  );
  const rebased = await rebaseSwarm(
    swarm.state,
    {
      node: await requiredFile(archive.files, "certificates/swarm-node.crt"),
      root: await requiredFile(archive.files, "certificates/swarm-root-ca.crt"),
    },
    {
      advertiseAddress: first.advertise,
      ...(survivor !== null && { port: survivor.port }),
      ...(engine.DataPathAddr !== "" && { dataPathAddress: engine.DataPathAddr }),
      unlockKey: archive.unlockKey,
      unlocked: true,
      now: tools.now(),
    },
  );
  const report = await restoreSwarm({
    host: hostOf(machineOf(tools, first.name)),
    dataRoot: first.facts.dataRoot,
    rebased,
    unlockKey: null,
    id: derivedId(tools.recoveryId, "survivor"),
    now: tools.now(),
    onStep: (step) => {
      context.onProgress(step, null);
    },
    signal,
  });
  return { compared: report.compared, kept: report.kept };
}
