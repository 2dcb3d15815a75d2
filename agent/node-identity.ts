// Who this node is: in a swarm by its node id, outside by its engine's id.
import { createHash } from "node:crypto";
import { SkepError } from "../shared/errors.ts";
import type { Docker } from "./docker.ts";
import type { EngineInfo } from "./docker-objects.ts";

export interface NodeIdentity {
  /** Swarm node id, or for a standalone host `s` and 24 hex digits of SHA-256 of the engine's id. Also the writer id. */
  nodeId: string;
  hostname: string;
  role: "manager" | "worker" | "standalone";
  engineVersion: string;
}

export function nodeIdentity(info: EngineInfo): NodeIdentity {
  const { NodeID, LocalNodeState, ControlAvailable } = info.Swarm;
  const hostname = info.Name;
  const engineVersion = info.ServerVersion;
  if (NodeID === "" || LocalNodeState === "inactive") {
    return { nodeId: standaloneNodeId(info.ID), hostname, role: "standalone", engineVersion };
  }
  return { nodeId: NodeID, hostname, role: ControlAvailable ? "manager" : "worker", engineVersion };
}

export function standaloneNodeId(engineId: string): string {
  return `s${createHash("sha256").update(engineId, "utf8").digest("hex").slice(0, 24)}`;
}

/** Throws SKEP_DOCKER_NOT_MANAGER on a worker, and where there is no swarm. */
export async function managerInfo(docker: Docker, signal: AbortSignal): Promise<EngineInfo> {
  const info = await docker.info(signal);
  if (nodeIdentity(info).role === "manager") return info;
  throw new SkepError({
    code: "SKEP_DOCKER_NOT_MANAGER",
    message: `${info.Name} is no manager of a swarm`,
    permanent: true,
    hint: "this can only be done on a manager",
  });
}
