// The fence: nothing begins while a manager of the old swarm answers, seen from here and from every new machine. A network
// that is parted could hide one: --fence-command asks whoever can switch machines off.
import { spawn } from "node:child_process";
import { SkepError } from "../../shared/errors.ts";
import { findLivingManagers, oldManagers } from "../swarm-restore/fence.ts";
import { connectInTime, isForbidden } from "./connect-in-time.ts";
import type { StepResult } from "./journal.ts";
import { machineOf, type RecoveryTools } from "./recovery-tools.ts";
import type { StepContext } from "./steps.ts";

/** Who answers at this address, with this node's certificate, is no old manager. */
export interface OwnManager {
  host: string;
  nodeId: string;
}

/** `own`: what this recovery itself started, where a step before was cut off. Throws SKEP_RECOVERY_OLD_MANAGER_ALIVE, SKEP_RECOVERY_FENCE_COMMAND. */
export async function raiseFence(
  tools: RecoveryTools,
  fenceCommand: string | null,
  { signal, onProgress }: StepContext,
  own: OwnManager | null = null,
): Promise<StepResult> {
  if (fenceCommand !== null) {
    onProgress(`running ${fenceCommand}`, null);
    await runFenceCommand(fenceCommand, tools, signal);
  }
  const managers = oldManagers(tools.source.swarm.state);
  const { clusterId } = tools.plan;
  const seen: string[] = [];
  const unseen: string[] = [];
  const living = new Map<string, string>();
  const { survivor } = tools.plan;
  const surviving = new Set(survivor === null ? [] : [survivor.nodeId, ...survivor.others.map(({ nodeId }) => nodeId)]);
  const look = async (from: string, openTcp: Parameters<typeof findLivingManagers>[1]["openTcp"]): Promise<void> => {
    const found = await findLivingManagers(managers, {
      clusterId,
      replacedNodeId: null,
      ...(openTcp !== undefined && { openTcp }),
      signal,
    });
    for (const { hostname, host, port, nodeId } of found) {
      if (surviving.has(nodeId) || (host === own?.host && nodeId === own.nodeId)) continue;
      living.set(`${host}:${port}`, `${hostname} (${host}:${port}, seen from ${from})`);
    }
    seen.push(from);
  };
  onProgress(`asking ${managers.map(({ host }) => host).join(", ")}`, null);
  const lookFrom = async (name: string): Promise<void> => {
    const machine = machineOf(tools, name);
    const blocked = { here: false };
    await look(name, async (host, port) => {
      try {
        return (await connectInTime(machine.openTcp(host, port, signal))) as never;
      } catch (error) {
        if (isForbidden(error)) blocked.here = true;
        throw error;
      }
    });
    if (blocked.here) unseen.push(name);
  };
  await Promise.all([look("here", undefined), ...tools.plan.machines.map(({ name }) => lookFrom(name))]);
  if (living.size > 0) {
    throw new SkepError({
      code: "SKEP_RECOVERY_OLD_MANAGER_ALIVE",
      message: `${survivor === null ? "the old swarm lives" : "managers live that the inventory replaces or calls gone"}: ${[...living.values()].join("; ")}`,
      permanent: true,
      hint: "two swarms of one identity would fight: switch these machines off, or cut them from the network, and run again",
    });
  }
  return {
    managersAsked: managers.map(({ host, port }) => `${host}:${port}`),
    askedFrom: seen.filter((name) => !unseen.includes(name)),
    // Their sshd forbids forwarding: what they see was not looked at.
    notAskedFrom: unseen,
    fenceCommand: fenceCommand !== null,
  };
}

/** A program of the operator's, without arguments; the old managers' addresses are on its standard input, a line each. */
async function runFenceCommand(program: string, tools: RecoveryTools, signal: AbortSignal): Promise<void> {
  const child = spawn(program, [], { stdio: ["pipe", "ignore", "pipe"], signal });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-4096);
  });
  child.stdin.on("error", () => undefined);
  child.stdin.end(
    oldManagers(tools.source.swarm.state)
      .map(({ hostname, host }) => `${host} ${hostname}\n`)
      .join(""),
  );
  const code = await new Promise<number | string>((resolve) => {
    child.once("error", (error) => {
      resolve(error.message);
    });
    child.once("close", (status) => {
      resolve(status ?? "a signal");
    });
  });
  signal.throwIfAborted();
  if (code === 0) return;
  throw new SkepError({
    code: "SKEP_RECOVERY_FENCE_COMMAND",
    message: `the fence command ${program} ended with ${code}: ${stderr.trim()}`,
    permanent: true,
    hint: "it must end with 0 once the old machines are off",
  });
}
