// The swarm's definitions as the API tells them, one JSON file for each object: what a rebuild re-creates, and
// what a person reads. Secrets come without their data, which only the Raft copy holds.
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import type { ArchiveFile } from "../../shared/repository/archive-writer.ts";
import type { RunNode } from "../../shared/repository/run.ts";
import type { Docker } from "../docker.ts";
import type { SwarmNode, SwarmService } from "../docker-objects.ts";
import { meantNodes } from "../quiesce/placement.ts";
import { jsonFile } from "./archive-file.ts";
import { skepLabels } from "./skep-labels.ts";

const stackLabel = "com.docker.stack.namespace";

export interface Definitions {
  files: ArchiveFile[];
  clusterId: string;
  nodes: RunNode[];
  services: TaskResultOf<"definitions">["services"];
}

export async function readDefinitions(docker: Docker, clusterId: string, signal: AbortSignal): Promise<Definitions> {
  const [swarm, nodes, services, configs, secrets, networks] = await Promise.all([
    docker.swarm(signal),
    docker.nodes(signal),
    docker.services(signal),
    docker.configs({}, signal),
    docker.secrets(signal),
    docker.networks(signal),
  ]);
  // The tokens that let a machine join are in the Raft copy; here they would only be one more place to leak them.
  const swarmWithoutTokens = Object.fromEntries(Object.entries(swarm).filter(([name]) => name !== "JoinTokens"));
  const files = [
    jsonFile("definitions/swarm.json", swarmWithoutTokens),
    jsonFile("definitions/stacks.json", stacksOf({ services, configs, secrets, networks })),
    ...nodes.map((node) => jsonFile(fileName("nodes", node.Description.Hostname, node.ID), node)),
    ...services.map((service) => jsonFile(fileName("services", service.Spec.Name, service.ID), service)),
    ...configs.map((config) => jsonFile(fileName("configs", config.Spec.Name, config.ID), config)),
    ...secrets.map((secret) => jsonFile(fileName("secrets", secret.Spec.Name, secret.ID), secret)),
    ...networks
      .filter((network) => network.Scope === "swarm")
      .map((network) => jsonFile(fileName("networks", network.Name, network.Id), network)),
  ];
  return {
    files,
    clusterId,
    nodes: nodes.map(runNodeOf),
    services: services.map((service) => serviceBriefOf(service, nodes)),
  };
}

/** Readable, unique and safe: names are cut to what every filesystem takes, the id tells twins apart. */
function fileName(folder: string, name: string, id: string): string {
  const readable = name.replace(/[^A-Za-z0-9._-]/g, "_").slice(0, 100);
  return `definitions/${folder}/${readable}.${id.replace(/[^A-Za-z0-9]/g, "")}.json`;
}

interface StackContents {
  services: string[];
  configs: string[];
  secrets: string[];
  networks: string[];
}

function stacksOf(objects: {
  services: SwarmService[];
  configs: { Spec: { Name: string; Labels?: Record<string, string> | null | undefined } }[];
  secrets: { Spec: { Name: string; Labels?: Record<string, string> | null | undefined } }[];
  networks: { Name: string; [key: string]: unknown }[];
}): Record<string, StackContents> {
  const stacks = new Map<string, StackContents>();
  const add = (kind: keyof StackContents, name: string, labels: unknown): void => {
    const stack = (labels as Record<string, string> | null | undefined)?.[stackLabel];
    if (stack === undefined) return;
    const contents = stacks.get(stack) ?? { services: [], configs: [], secrets: [], networks: [] };
    contents[kind].push(name);
    stacks.set(stack, contents);
  };
  for (const { Spec } of objects.services) add("services", Spec.Name, Spec.Labels);
  for (const { Spec } of objects.configs) add("configs", Spec.Name, Spec.Labels);
  for (const { Spec } of objects.secrets) add("secrets", Spec.Name, Spec.Labels);
  for (const network of objects.networks) add("networks", network.Name, network["Labels"]);
  return Object.fromEntries(stacks);
}

export function runNodeOf(node: SwarmNode): RunNode {
  return {
    id: node.ID,
    hostname: node.Description.Hostname,
    role: node.Spec.Role,
    availability: node.Spec.Availability,
    state: node.Status.State,
    address: node.ManagerStatus?.Addr?.replace(/:\d+$/, "") ?? node.Status.Addr ?? "",
  };
}

export function serviceBriefOf(
  service: SwarmService,
  nodes: readonly SwarmNode[],
): TaskResultOf<"definitions">["services"][number] {
  const { Mode, TaskTemplate, Name } = service.Spec;
  const mounts = TaskTemplate.ContainerSpec?.Mounts ?? [];
  const sources = (type: string): string[] => [
    ...new Set(mounts.filter((mount) => mount.Type === type).flatMap(({ Source }) => (Source ? [Source] : []))),
  ];
  const mode = Mode.Replicated
    ? "replicated"
    : Mode.Global
      ? "global"
      : Mode.ReplicatedJob
        ? "replicated-job"
        : "global-job";
  const labels = skepLabels(service.Spec.Labels);
  const containerLabels = skepLabels(TaskTemplate.ContainerSpec?.Labels);
  const isAsked = Object.keys({ ...labels, ...containerLabels }).length > 0;
  return {
    id: service.ID,
    name: Name,
    mode,
    replicas: mode === "replicated" ? (Mode.Replicated?.Replicas ?? 1) : null,
    volumes: sources("volume"),
    binds: sources("bind"),
    image: (TaskTemplate.ContainerSpec?.Image ?? "").slice(0, 1024),
    labels,
    containerLabels,
    mayRunOn: isAsked ? (meantNodes(service, nodes)?.map(({ ID }) => ID) ?? null) : null,
  };
}
