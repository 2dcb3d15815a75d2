// The Docker engine of this machine, asked who it is.
import { createHash } from "node:crypto";
import { z } from "zod";
import { callEngine, engineUnreachable } from "./engine-call.ts";

const infoSchema = z.looseObject({
  ID: z.string().min(1).max(255),
  Name: z.string().max(255),
  ServerVersion: z.string().max(255),
  DockerRootDir: z.string().max(4096),
  Swarm: z.looseObject({
    NodeID: z.string().max(64),
    NodeAddr: z.string().max(255),
    LocalNodeState: z.string().max(64),
    ControlAvailable: z.boolean(),
    Error: z.string(),
    Cluster: z.looseObject({ ID: z.string().max(64) }).nullish(),
  }),
});
export type EngineFacts = z.infer<typeof infoSchema>;

export interface LocalNode {
  /** Swarm node id, or for a host outside a swarm `s` and 24 hex digits of SHA-256 of the engine's id (layout.ts). */
  nodeId: string;
  hostname: string;
  role: "manager" | "worker" | "standalone";
}

/** Throws SKEP_DOCKER_UNREACHABLE. */
export async function askLocalNode(socketPath: string, signal: AbortSignal): Promise<LocalNode> {
  const { ID, Name, Swarm } = await askEngineInfo(socketPath, signal);
  if (Swarm.NodeID === "" || Swarm.LocalNodeState === "inactive") {
    const hash = createHash("sha256").update(ID, "utf8").digest("hex");
    return { nodeId: `s${hash.slice(0, 24)}`, hostname: Name, role: "standalone" };
  }
  return { nodeId: Swarm.NodeID, hostname: Name, role: Swarm.ControlAvailable ? "manager" : "worker" };
}

/** Throws SKEP_DOCKER_UNREACHABLE, also where it answers with something else. */
export async function askEngineInfo(socketPath: string, signal: AbortSignal): Promise<EngineFacts> {
  const info = infoSchema.safeParse(await callEngine(socketPath, { path: "/info" }, signal));
  if (info.success) return info.data;
  throw engineUnreachable(socketPath, "it answered with something else than its facts");
}
