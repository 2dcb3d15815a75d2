// Any object of the store as JSON: as the Engine API shows its kind, or, where the API has no such kind, as it is stored.
import { kindNumbers, type ObjectKind } from "../object-store.ts";
import { decodeMessage, type Message } from "../swarmkit/message-types.ts";
import { cluster, config, secret } from "./cluster.ts";
import { network } from "./network.ts";
import { node, volume } from "./node.ts";
import { registryAuthOf, service, task } from "./service.ts";
import { base64, integer, type Json } from "./values.ts";

export interface ObjectHead {
  id: string;
  /** A node's host name, a task's service and slot; empty where there is none. */
  name: string;
  /** The version index that an update must name. */
  version: number;
}

/**
 * Throws SKEP_RAFT_FORMAT. With `reveal` secrets come with their data, the cluster with its keys and tokens, services and
 * tasks with a registry's credentials (`RegistryAuth`, a field that the API does not have).
 */
export function engineJson(kind: ObjectKind, bytes: Uint8Array, reveal: boolean): Json {
  switch (kind) {
    case "node":
      return node(decodeMessage("Node", bytes));
    case "service": {
      const of = decodeMessage("Service", bytes);
      return { ...service(of), ...(reveal ? credentials(of.spec?.task) : {}) };
    }
    case "task": {
      const of = decodeMessage("Task", bytes);
      return { ...task(of), ...(reveal ? credentials(of.spec) : {}) };
    }
    case "network":
      return network(decodeMessage("Network", bytes));
    case "cluster":
      return cluster(decodeMessage("Cluster", bytes), reveal);
    case "secret":
      return secret(decodeMessage("Secret", bytes), reveal);
    case "config":
      return config(decodeMessage("Config", bytes));
    case "volume":
      return volume(decodeMessage("Volume", bytes));
    case "resource":
    case "extension":
      return storedJson(decodeMessage(kindNumbers[kind].message, bytes));
  }
}

function credentials(of: Message<"TaskSpec"> | undefined): Json {
  const RegistryAuth = registryAuthOf(of);
  return RegistryAuth === null ? {} : { RegistryAuth };
}

export function objectHead(kind: ObjectKind, bytes: Uint8Array): ObjectHead {
  const object = decodeMessage(kindNumbers[kind].message, bytes) as Message<"Service" | "Task" | "Node" | "Resource">;
  const version = Number(object.meta?.version?.index ?? 0n);
  return { id: object.id, name: nameOf(kind, bytes), version };
}

function nameOf(kind: ObjectKind, bytes: Uint8Array): string {
  if (kind === "node") return decodeMessage("Node", bytes).description?.hostname ?? "";
  if (kind === "task") {
    const task = decodeMessage("Task", bytes);
    const service = task.serviceAnnotations?.name ?? "";
    return service === "" ? "" : `${service}.${task.slot === 0n ? task.nodeId : task.slot.toString()}`;
  }
  if (kind === "resource") return decodeMessage("Resource", bytes).annotations?.name ?? "";
  if (kind === "extension") return decodeMessage("Extension", bytes).annotations?.name ?? "";
  return (decodeMessage(kindNumbers[kind].message, bytes) as Message<"Service">).spec?.annotations?.name ?? "";
}

/** A message's own fields, by their names in the tables; bytes in base64. */
function storedJson(value: unknown): Json {
  return storedValue(value) as Json;
}

function storedValue(value: unknown): unknown {
  if (typeof value === "bigint") return integer(value);
  if (value instanceof Uint8Array) return base64(value);
  if (Array.isArray(value)) return value.map(storedValue);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, field]) => !key.startsWith("$") && field !== undefined)
      .map(([key, field]) => [key, storedValue(field)]),
  );
}
