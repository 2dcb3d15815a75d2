// Who this node is: in a swarm by its node id, outside by its engine's id.
import { createHash } from "node:crypto";
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
