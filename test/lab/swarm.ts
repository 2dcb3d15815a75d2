// Makes a swarm of the lab's nodes, by the engines' own API.
import { SkepError } from "../../shared/errors.ts";
import type { LabNode } from "./node.ts";

export interface SwarmOptions {
  /** How many of the nodes, from the first on, are managers. */
  managers: number;
  /** Managers then start locked; the key that opens them is the swarm's unlock key. */
  autolock?: boolean;
  /** What can't be changed later, as the Engine API names it; the engine's defaults where left out. */
  fixed?: { DefaultAddrPool: string[]; SubnetSize: number; DataPathPort: number };
}

export interface Swarm {
  /** Only of a swarm with autolock: "SWMKEY-1-…". */
  unlockKey: string | null;
}

/** 20 s in ns, the engine's default being 5 s: on few busy cores a swarm would take living nodes for dead. */
const heartbeatPeriodNs = 20e9;

/** Makes the first node a manager and lets the others join, managers one after the other. */
export async function initSwarm(nodes: readonly LabNode[], options: SwarmOptions): Promise<Swarm> {
  const [first, ...others] = nodes;
  if (first === undefined || options.managers < 1 || options.managers > nodes.length) {
    throw new RangeError("managers: at least 1, and no more than there are nodes");
  }
  await first.docker.swarmInit({
    ListenAddr: "0.0.0.0:2377",
    AdvertiseAddr: first.address,
    ...options.fixed,
    Spec: {
      Dispatcher: { HeartbeatPeriod: heartbeatPeriodNs },
      EncryptionConfig: { AutoLockManagers: options.autolock === true },
    },
  });
  const joining = others.slice(0, options.managers - 1);
  for (const node of joining) await joinSwarm(node, first, "manager");
  await Promise.all(others.slice(options.managers - 1).map((node) => joinSwarm(node, first, "worker")));
  if (options.autolock !== true) return { unlockKey: null };
  return { unlockKey: (await first.run(["docker", "swarm", "unlock-key", "--quiet"])).trim() };
}

/** Lets `node` join the swarm of `manager`. Throws SKEP_LAB_SWARM, for example when the swarm's managers have no majority. */
export async function joinSwarm(node: LabNode, manager: LabNode, role: "manager" | "worker"): Promise<void> {
  try {
    const swarm = (await manager.docker.swarmInspect()) as { JoinTokens: { Manager: string; Worker: string } };
    await node.docker.swarmJoin({
      ListenAddr: "0.0.0.0:2377",
      AdvertiseAddr: node.address,
      RemoteAddrs: [`${manager.address}:2377`],
      JoinToken: role === "manager" ? swarm.JoinTokens.Manager : swarm.JoinTokens.Worker,
    });
  } catch (error) {
    throw new SkepError({
      code: "SKEP_LAB_SWARM",
      message: `${node.name} can't join the swarm of ${manager.name} as ${role}: ${(error as Error).message.trim()}`,
      permanent: false,
      hint: "does the swarm have a majority of its managers? docker node ls",
      cause: error,
    });
  }
}

/**
 * Runs a `docker node update …` or `docker swarm update …` on a manager. The command reads the object and writes it back:
 * where the swarm itself wrote to it in between, as it does while nodes join, it is run again.
 */
export async function updateInSwarm(manager: LabNode, argv: readonly string[]): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const { code, stderr } = await manager.exec(["docker", ...argv]);
    if (code === 0) return;
    if (!stderr.includes("update out of sequence") || attempt === 10) {
      throw new SkepError({
        code: "SKEP_LAB_SWARM",
        message: `${manager.name}: docker ${argv.join(" ")}: ${stderr.trim()}`,
        permanent: false,
        hint: "does the swarm have a majority of its managers? docker node ls",
      });
    }
  }
}
