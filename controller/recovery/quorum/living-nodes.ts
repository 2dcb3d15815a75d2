// Nodes of a swarm that lives: new ones get what those had that they replace, the dead are struck off by their ids, and no
// other is touched. Those that survive are waited for: they find the new manager by themselves.
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../../shared/errors.ts";
import type { StepResult } from "../journal.ts";
import { firstMachine, machineOf, type RecoveryTools } from "../recovery-tools.ts";
import type { StepContext } from "../steps.ts";
import { listNodes, nodeIdsOf, updateNode } from "../swarm-steps.ts";

const returnTimeoutMs = 120_000;
const pollMs = 1_000;

export async function dressNewNodes(tools: RecoveryTools, context: StepContext): Promise<StepResult> {
  const { signal } = context;
  const manager = machineOf(tools, firstMachine(tools).name);
  const ids = nodeIdsOf(tools, context);
  const dead = new Map(tools.plan.gone.map(({ id, hostname }) => [id, hostname]));
  for (const { name, role, replaces, dress, stays } of tools.plan.machines) {
    if (stays) continue;
    for (const { id, hostname } of replaces) dead.set(id, hostname);
    const spec = { Labels: dress.labels, Role: role, Availability: dress.availability };
    await updateNode(manager, ids.get(name) ?? "", spec, signal);
  }
  const removed: string[] = [];
  for (const id of dead.keys()) {
    try {
      await manager.askEngine({ method: "DELETE", path: `/nodes/${id}`, query: { force: true } }, signal);
    } catch (error) {
      // Struck off by the call before.
      if (!(error instanceof SkepError) || error.code !== "SKEP_DOCKER_NOT_FOUND") throw error;
    }
    removed.push(id);
  }
  const absent = await awaitSurvivors(tools, context);
  return { nodes: Object.fromEntries(ids), removed, absent };
}

/** Hostnames of those that are not ready in time; one may be down for reasons of its own. */
async function awaitSurvivors(tools: RecoveryTools, { signal, onProgress }: StepContext): Promise<string[]> {
  const surviving = new Map(tools.plan.surviving.map(({ id, hostname }) => [id, hostname]));
  const deadline = tools.now() + returnTimeoutMs;
  for (;;) {
    const ready = new Set(
      (await listNodes(tools, signal)).filter(({ Status }) => Status.State === "ready").map(({ ID }) => ID),
    );
    const absent = [...surviving].flatMap(([id, hostname]) => (ready.has(id) ? [] : [hostname]));
    if (absent.length === 0 || tools.now() > deadline) return absent;
    onProgress(`waiting for ${absent.join(", ")}`, (surviving.size - absent.length) / surviving.size);
    await sleep(pollMs, undefined, { signal });
  }
}
