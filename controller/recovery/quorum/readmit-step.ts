// Another node that survived. A manager is no member of the new quorum, and its own log still counts the dead: as soon as it
// hears from the new leader that it was removed, it gives its log up, gets a new certificate, and joins as the manager that it
// is by its role; all by itself, within a minute, without touching a task (swarmkit node/node.go, superviseManager).
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import type { StepResult } from "../journal.ts";
import { firstMachine, machineOf, plannedMachine, type RecoveryTools } from "../recovery-tools.ts";
import type { StepContext } from "../steps.ts";

const nodeSchema = z.looseObject({
  Status: z.looseObject({ State: z.string() }),
  ManagerStatus: z.looseObject({ Reachability: z.string() }).nullish(),
});
const infoSchema = z.looseObject({
  Swarm: z.looseObject({ LocalNodeState: z.string(), ControlAvailable: z.boolean() }),
});
type Seen = { node: z.infer<typeof nodeSchema>; engine: z.infer<typeof infoSchema>["Swarm"] };

const readmitTimeoutMs = 240_000;
const pollMs = 1_000;

/** Null while it is not what it shall be. */
export async function findReadmitted(
  tools: RecoveryTools,
  name: string,
  { signal }: Pick<StepContext, "signal">,
): Promise<StepResult | null> {
  const { id, isManager } = nodeOf(tools, name);
  const seen = await look(tools, name, id, signal);
  return isManager ? (isMember(seen) ? { nodeId: id } : null) : isReady(seen) ? { nodeId: id } : null;
}

export async function readmit(
  tools: RecoveryTools,
  name: string,
  { signal, onProgress }: StepContext,
): Promise<StepResult> {
  const deadline = tools.now() + readmitTimeoutMs;
  for (;;) {
    const found = await findReadmitted(tools, name, { signal });
    if (found !== null) return found;
    onProgress("waiting until it found the new quorum", null);
    if (tools.now() > deadline) {
      throw new SkepError({
        code: "SKEP_RECOVERY_JOIN",
        message: `${name} did not find the new quorum within ${readmitTimeoutMs / 1000} s`,
        permanent: false,
        hint: `does ${name} reach ${firstMachine(tools).advertise}? As a last resort docker swarm leave --force there, which stops its tasks, and join it anew`,
      });
    }
    await sleep(pollMs, undefined, { signal });
  }
}

function isReady({ node, engine }: Seen): boolean {
  return engine.LocalNodeState === "active" && node.Status.State === "ready";
}

function isMember(seen: Seen): boolean {
  return isReady(seen) && seen.engine.ControlAvailable && seen.node.ManagerStatus?.Reachability === "reachable";
}

function nodeOf(tools: RecoveryTools, name: string): { id: string; isManager: boolean } {
  const { facts, role } = plannedMachine(tools, name);
  return { id: facts.nodeId, isManager: role === "manager" };
}

async function look(tools: RecoveryTools, name: string, id: string, signal: AbortSignal): Promise<Seen> {
  const manager = machineOf(tools, firstMachine(tools).name);
  const node = await manager.engine(nodeSchema, { path: `/nodes/${id}` }, signal);
  const { Swarm } = await machineOf(tools, name).engine(infoSchema, { path: "/info" }, signal);
  return { node, engine: Swarm };
}
