// The swarm itself: laid down on the first manager with every service held, joined by the others, its nodes given what they
// had, the dead removed.
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { rebaseSwarm, type RebasedSwarm } from "../../shared/raft/rebase.ts";
import { readWhole, type SwarmFiles } from "../../shared/raft/swarm-files.ts";
import type { SwarmHost } from "../swarm-restore/host.ts";
import { endRestore, restoreSwarm } from "../swarm-restore/restore.ts";
import { raiseFence } from "./fence-step.ts";
import type { StepResult } from "./journal.ts";
import { listenAddress } from "./rebuild/settings.ts";
import { openArchivedSwarm } from "./recovery-source.ts";
import { firstMachine, machineOf, newRecoveryId, plannedMachine, type RecoveryTools } from "./recovery-tools.ts";
import type { RemoteMachine } from "./remote-machine.ts";
import type { StepContext } from "./steps.ts";
import { stepIds } from "./plan-steps.ts";

const infoSchema = z.looseObject({
  Swarm: z.looseObject({
    NodeID: z.string(),
    LocalNodeState: z.string(),
    ControlAvailable: z.boolean(),
    Error: z.string(),
    Cluster: z.looseObject({ ID: z.string() }).nullish(),
  }),
});
const nodeSchema = z.looseObject({
  ID: z.string(),
  Version: z.looseObject({ Index: z.int() }),
  Spec: z.looseObject({}),
  Status: z.looseObject({ State: z.string() }),
});
const tokensSchema = z.looseObject({ JoinTokens: z.looseObject({ Manager: z.string(), Worker: z.string() }) });

const clusterPort = 2377;
const joinTimeoutMs = 120_000;
const pollMs = 500;
const largestCertificateBytes = 1024 * 1024;

/** Null where the first manager does not run this very swarm yet. What it still shows of an earlier call is ended. */
export async function findSwarm(tools: RecoveryTools, { signal }: StepContext): Promise<StepResult | null> {
  const Swarm = await swarmOfFirst(tools, signal);
  const { member } = tools.source.swarm.state;
  const ours = Swarm?.LocalNodeState === "active" && Swarm.ControlAvailable && Swarm.NodeID === member.nodeId;
  if (!ours || Swarm.Cluster?.ID !== tools.plan.clusterId) return null;
  const { name, facts } = firstMachine(tools);
  const [host, { clusterId }, { nodeId }] = [hostOf(machineOf(tools, name)), tools.plan, member];
  return { nodeId, kept: await endRestore(host, facts.dataRoot, { clusterId, nodeId }, signal) };
}

/** Null where its engine is stopped, as it is half-way through. */
async function swarmOfFirst(
  tools: RecoveryTools,
  signal: AbortSignal,
): Promise<z.infer<typeof infoSchema>["Swarm"] | null> {
  const machine = machineOf(tools, firstMachine(tools).name);
  try {
    return (await machine.engine(infoSchema, { path: "/info" }, signal)).Swarm;
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_DOCKER_UNREACHABLE") return null;
    throw error;
  }
}

/**
 * The fence is raised again before it: hours of volumes lie between, or the days until a recovery goes on, and two swarms
 * of one identity would fight. Throws SKEP_RECOVERY_OLD_MANAGER_ALIVE.
 */
export async function layDownSwarm(tools: RecoveryTools, context: StepContext): Promise<StepResult> {
  const first = firstMachine(tools);
  const { signal } = context;
  const { nodeId } = tools.source.swarm.state.member;
  // Laid down and started by a call that was cut off; the machine may have an old manager's address.
  const isOurs = (await swarmOfFirst(tools, signal))?.NodeID === nodeId;
  await raiseFence(tools, null, context, isOurs ? { host: first.advertise, nodeId } : null);
  const swarm = await openArchivedSwarm(tools.source.archive, signal);
  const { files, unlockKey } = tools.source.archive;
  const ended = new Set(tools.plan.endedJobs);
  const rebased = await rebaseSwarm(swarm.state, await certificatesOf(files), {
    advertiseAddress: first.advertise,
    ...(first.dataPath !== null && { dataPathAddress: first.dataPath }),
    unlockKey,
    unlocked: true,
    // A job that ended would run again if it were touched.
    hold: ({ id }) => !ended.has(id),
    now: tools.now(),
  });
  const report = await layDownOnFirst(tools, rebased, context);
  return {
    nodeId: rebased.state.member.nodeId,
    index: rebased.state.appliedIndex,
    certificateReissued: rebased.certificateReissued,
    undone: rebased.undone.map(({ name }) => name),
    compared: report.compared,
    kept: report.kept,
  };
}

/** The rebased state becomes that of the first manager; its report of what was compared and kept. */
export async function layDownOnFirst(
  tools: RecoveryTools,
  rebased: RebasedSwarm,
  { signal, onProgress }: StepContext,
): ReturnType<typeof restoreSwarm> {
  const { name, facts } = firstMachine(tools);
  return await restoreSwarm({
    host: hostOf(machineOf(tools, name)),
    dataRoot: facts.dataRoot,
    rebased,
    // Laid down in clear, an autolocked swarm's key file is locked by its engine at once: one that starts anew asks for it.
    unlockKey: tools.source.archive.unlockKey,
    // Of this call alone: one before, cut off, may have left a folder of its own.
    id: newRecoveryId(),
    now: tools.now(),
    onStep: (step) => {
      onProgress(step, null);
    },
    signal,
  });
}

/** What says who a node is and whom it trusts, for rebasing. */
export async function certificatesOf(files: SwarmFiles): Promise<{ node: Uint8Array; root: Uint8Array }> {
  return {
    node: await requiredFile(files, "certificates/swarm-node.crt"),
    root: await requiredFile(files, "certificates/swarm-root-ca.crt"),
  };
}

export function hostOf(machine: RemoteMachine): SwarmHost {
  return {
    name: machine.name,
    run: (argv, options) => machine.run(argv, options),
    askEngine: (call, signal) => machine.askEngine(call, signal),
  };
}

/** Throws SKEP_RECOVERY_NO_RAFT. */
export async function requiredFile(files: SwarmFiles, path: string): Promise<Uint8Array> {
  const bytes = await readWhole(files, path, largestCertificateBytes);
  if (bytes !== null) return bytes;
  throw new SkepError({
    code: "SKEP_RECOVERY_NO_RAFT",
    message: `the Raft copy has no ${path}`,
    permanent: true,
    hint: "name another run with --run",
  });
}

/** Its node id where the machine is in the swarm already. */
export async function findJoined(tools: RecoveryTools, name: string, context: StepContext): Promise<StepResult | null> {
  const { Swarm } = await machineOf(tools, name).engine(infoSchema, { path: "/info" }, context.signal);
  if (Swarm.LocalNodeState !== "active" || Swarm.NodeID === "") return null;
  const nodes = await listNodes(tools, context.signal);
  return nodes.some(({ ID }) => ID === Swarm.NodeID) ? { nodeId: Swarm.NodeID } : null;
}

export async function joinMachine(tools: RecoveryTools, name: string, context: StepContext): Promise<StepResult> {
  const { signal } = context;
  const first = firstMachine(tools);
  const planned = plannedMachine(tools, name);
  const machine = machineOf(tools, name);
  const manager = machineOf(tools, first.name);
  const port = tools.plan.survivor?.port ?? clusterPort;
  const { JoinTokens } = await manager.engine(tokensSchema, { path: "/swarm" }, signal);
  const body = {
    ListenAddr: listenAddress(planned.advertise),
    AdvertiseAddr: planned.advertise,
    ...(planned.dataPath !== null && { DataPathAddr: planned.dataPath }),
    RemoteAddrs: [first.advertise.includes(":") ? `[${first.advertise}]:${port}` : `${first.advertise}:${port}`],
    JoinToken: planned.role === "manager" ? JoinTokens.Manager : JoinTokens.Worker,
  };
  try {
    await machine.askEngine({ method: "POST", path: "/swarm/join", body }, signal);
  } catch (error) {
    // The engine answers 503 after 20 s and goes on trying; "already part of a swarm" is the call before.
    if (!(error instanceof SkepError) || !error.code.startsWith("SKEP_DOCKER_")) throw error;
    context.onProgress(error.message, null);
  }
  const deadline = tools.now() + joinTimeoutMs;
  for (;;) {
    const { Swarm } = await machine.engine(infoSchema, { path: "/info" }, signal);
    if (Swarm.LocalNodeState === "active" && Swarm.NodeID !== "") {
      const node = (await listNodes(tools, signal)).find(({ ID }) => ID === Swarm.NodeID);
      if (node?.Status.State === "ready") return { nodeId: Swarm.NodeID };
    }
    if (tools.now() > deadline) {
      throw new SkepError({
        code: "SKEP_RECOVERY_JOIN",
        message: `${name} did not join the swarm within ${joinTimeoutMs / 1000} s: it is ${Swarm.LocalNodeState} ${Swarm.Error}`,
        permanent: false,
        hint: `does ${name} reach ${first.advertise} on port ${port}, and the other way round on 7946?`,
      });
    }
    await sleep(pollMs, undefined, { signal });
  }
}

export async function listNodes(tools: RecoveryTools, signal: AbortSignal): Promise<z.infer<typeof nodeSchema>[]> {
  return await machineOf(tools, firstMachine(tools).name).engine(z.array(nodeSchema), { path: "/nodes" }, signal);
}

/** Node id of each machine, as the steps before found it. */
export function nodeIdsOf(tools: RecoveryTools, { resultOf }: Pick<StepContext, "resultOf">): Map<string, string> {
  const ids = new Map<string, string>();
  for (const [index, { name }] of tools.plan.machines.entries()) {
    ids.set(name, String(resultOf(index === 0 ? stepIds.swarm : stepIds.join(name))["nodeId"]));
  }
  return ids;
}

export async function dressNodes(tools: RecoveryTools, context: StepContext): Promise<StepResult> {
  const { signal } = context;
  const manager = machineOf(tools, firstMachine(tools).name);
  const ids = nodeIdsOf(tools, context);
  for (const { name, role, dress } of tools.plan.machines) {
    const spec = { Labels: dress.labels, Role: role, Availability: dress.availability };
    await updateNode(manager, ids.get(name) ?? "", spec, signal);
  }
  const removed: string[] = [];
  const living = new Set(ids.values());
  for (const { ID } of await listNodes(tools, signal)) {
    if (living.has(ID)) continue;
    await manager.askEngine({ method: "DELETE", path: `/nodes/${ID}`, query: { force: true } }, signal);
    removed.push(ID);
  }
  return { nodes: Object.fromEntries(ids), removed };
}

export async function updateNode(manager: RemoteMachine, id: string, spec: object, signal: AbortSignal): Promise<void> {
  for (let tries = 1; ; tries++) {
    const node = await manager.engine(nodeSchema, { path: `/nodes/${id}` }, signal);
    const query = { version: node.Version.Index };
    try {
      await manager.askEngine(
        { method: "POST", path: `/nodes/${id}/update`, query, body: { ...node.Spec, ...spec } },
        signal,
      );
      return;
    } catch (error) {
      if (!(error instanceof SkepError) || error.code !== "SKEP_DOCKER_CONFLICT" || tries >= 10) throw error;
      await sleep(100 * tries, undefined, { signal });
    }
  }
}
