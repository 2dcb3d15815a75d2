// What a lab looks like right now, as `npm run lab -- status --json` prints it.
import { z } from "zod";
import type { LabNode } from "./node.ts";
import { pingDocker } from "./node.ts";

export interface NodeStatus {
  name: string;
  address: string;
  power: "on" | "off";
  network: "connected" | "cut";
  /** "none", "worker", "manager", "locked", …; "unknown" while Docker does not answer. */
  swarm: string;
  /** Null while Docker does not answer. */
  dockerVersion: string | null;
  dockerSocketPath: string;
}

export interface LabStatus {
  name: string;
  engine: string;
  /** The host's address on the lab's network. */
  hostAddress: string;
  sshKeyPath: string;
  operatorPassword: string;
  nodes: NodeStatus[];
  s3: { endpoint: string; region: string; accessKeyId: string; secretAccessKey: string; power: "on" | "off" } | null;
  redis: { host: string; port: number; password: string; power: "on" | "off" } | null;
}

const infoSchema = z.object({
  ServerVersion: z.string(),
  Swarm: z.object({ LocalNodeState: z.string(), ControlAvailable: z.boolean() }),
});

export async function nodeStatus(node: LabNode): Promise<NodeStatus> {
  const { name, address, dockerSocketPath } = node;
  const power = node.isRunning ? "on" : "off";
  const network = (await node.isCut()) ? "cut" : "connected";
  const known = { name, address, power, network, dockerSocketPath } as const;
  if (power === "off" || !(await pingDocker(dockerSocketPath)))
    return { ...known, swarm: "unknown", dockerVersion: null };
  const info = infoSchema.parse(await node.docker.info());
  const { LocalNodeState: state, ControlAvailable: isManager } = info.Swarm;
  const swarm = state === "active" ? (isManager ? "manager" : "worker") : state === "inactive" ? "none" : state;
  return { ...known, swarm, dockerVersion: info.ServerVersion };
}
