// Other names, ports, subnets and nodes than in the copy: for a clone beside the original, and for a swarm of other
// machines. Pure; what is changed is what the plan prints.
import { SkepError } from "../../shared/errors.ts";
import type { CreatedKind } from "../engine/engine.ts";
import { stackLabel, type CopiedFile, type CopiedNetwork, type CopiedService } from "./copied-objects.ts";
import { isSubnet } from "./network-body.ts";
import { renameReferences, type ReferredKind, type ServiceSpec } from "./portable.ts";
import { keyOf, type Selection } from "./selection.ts";

/** The one object, or the stack, under another name. What it needs keeps its own. */
export function renamed(selection: Selection, kind: CreatedKind | "stack", from: string, to: string): Selection {
  return kind === "stack" ? renamedStack(selection, from, to) : renamedObject(selection, kind, from, to);
}

function renamedObject(selection: Selection, kind: CreatedKind, from: string, to: string): Selection {
  const rename = (of: CreatedKind, name: string): string => (of === kind && name === from ? to : name);
  return rebuilt(selection, rename, (labels) => labels);
}

/**
 * As `docker stack deploy` names the objects of another stack: the namespace label, and the prefix `STACK_` of the names of
 * its objects and volumes. Aliases stay: within the stack its services find each other by them.
 */
function renamedStack(selection: Selection, from: string, to: string): Selection {
  const swap = (name: string): string => (name.startsWith(`${from}_`) ? `${to}_${name.slice(from.length + 1)}` : name);
  const rename = (kind: CreatedKind, name: string): string =>
    selection.asked.has(keyOf(kind, name)) ? swap(name) : name;
  const stuck = [...selection.asked].filter((key) => key === key.replace(` ${from}_`, ` ${to}_`));
  if (stuck.length > 0) {
    throw new SkepError({
      code: "SKEP_OBJECTS_NO_PREFIX",
      message: `the name of ${stuck.join(", ")} does not begin with ${from}_: under which name shall it be in stack ${to}?`,
      permanent: true,
      hint: "bring the stack back under its own name, or its objects one by one with --as",
    });
  }
  const relabel = (labels: Record<string, string>): Record<string, string> =>
    labels[stackLabel] === from ? { ...labels, [stackLabel]: to } : labels;
  const result = rebuilt(selection, rename, relabel);
  return {
    ...result,
    services: result.services.map((service) => ({ ...service, spec: inStack(service.spec, swap, relabel) })),
  };
}

/** Labels of the containers, and the names of volumes. */
function inStack(
  spec: ServiceSpec,
  swap: (name: string) => string,
  relabel: (labels: Record<string, string>) => Record<string, string>,
): ServiceSpec {
  const container = spec.TaskTemplate.ContainerSpec;
  if (container == null) return spec;
  const changed = { ...container };
  if (container.Labels != null) changed.Labels = relabel(container.Labels);
  changed.Mounts = container.Mounts?.map((mount) => {
    if (mount.Type !== "volume") return mount;
    const options = mount.VolumeOptions;
    const VolumeOptions = options?.Labels == null ? options : { ...options, Labels: relabel(options.Labels) };
    const Source = mount.Source === undefined ? undefined : swap(mount.Source);
    return { ...mount, ...(Source === undefined ? {} : { Source }), ...(options == null ? {} : { VolumeOptions }) };
  });
  return { ...spec, TaskTemplate: { ...spec.TaskTemplate, ContainerSpec: changed } };
}

function rebuilt(
  selection: Selection,
  rename: (kind: CreatedKind, name: string) => string,
  relabel: (labels: Record<string, string>) => Record<string, string>,
): Selection {
  const labelsOf = (value: unknown): Record<string, string> => (value ?? {}) as Record<string, string>;
  const file =
    (kind: "secret" | "config") =>
    (object: CopiedFile): CopiedFile => {
      const name = rename(kind, object.name);
      return {
        ...object,
        name,
        spec: { ...object.spec, Name: name, Labels: relabel(labelsOf(object.spec["Labels"])) },
      };
    };
  const network = (object: CopiedNetwork): CopiedNetwork => {
    const name = rename("network", object.name);
    return { ...object, name, body: { ...object.body, Name: name, Labels: relabel(object.body.Labels) } };
  };
  const service = (object: CopiedService): CopiedService => {
    const name = rename("service", object.name);
    const referring = renameReferences(object.spec, (kind: ReferredKind, referred) => rename(kind, referred));
    return { ...object, name, spec: { ...referring, Name: name, Labels: relabel(labelsOf(object.spec.Labels)) } };
  };
  const asked = [...selection.asked].map((key) => {
    const [kind, name] = [key.slice(0, key.indexOf(" ")) as CreatedKind, key.slice(key.indexOf(" ") + 1)];
    return keyOf(kind, rename(kind, name));
  });
  return {
    networks: selection.networks.map(network),
    secrets: selection.secrets.map(file("secret")),
    configs: selection.configs.map(file("config")),
    services: selection.services.map(service),
    unsupported: selection.unsupported,
    asked: new Set(asked),
  };
}

/** Published port → published port, 1 to 65535; in every service, whatever the protocol. */
export function withPorts(selection: Selection, ports: ReadonlyMap<number, number>): Selection {
  const services = selection.services.map((service) => {
    const endpoint = service.spec.EndpointSpec;
    if (endpoint?.Ports == null) return service;
    const Ports = endpoint.Ports.map((port) => {
      const to = ports.get(port.PublishedPort ?? 0);
      return to === undefined ? port : { ...port, PublishedPort: to };
    });
    return { ...service, spec: { ...service.spec, EndpointSpec: { ...endpoint, Ports } } };
  });
  return { ...selection, services };
}

/**
 * Old subnet → new subnet; gateway and range of a moved subnet are the engine's choice. A target that is no subnet throws
 * SKEP_CLI_USAGE.
 */
export function withSubnets(selection: Selection, subnets: ReadonlyMap<string, string>): Selection {
  for (const to of subnets.values()) {
    if (isSubnet(to)) continue;
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: `${JSON.stringify(to)} is no subnet`,
      permanent: true,
      hint: "write for example --remap-subnet 10.0.1.0/24=10.77.1.0/24",
    });
  }
  const networks = selection.networks.map((network) => {
    const Config = network.body.IPAM.Config.map((pool) => {
      const to = subnets.get(pool.Subnet ?? "");
      return to === undefined ? pool : { Subnet: to };
    });
    return { ...network, body: { ...network.body, IPAM: { ...network.body.IPAM, Config } } };
  });
  return { ...selection, networks };
}

/** The new swarm's nodes, by those of the copy. */
export interface NodeMapping {
  ids: ReadonlyMap<string, string>;
  hostnames: ReadonlyMap<string, string>;
}

/** Placement constraints on a node's id or hostname name the new node; those on others stay, and nothing meets them. */
export function withNodes(selection: Selection, nodes: NodeMapping): Selection {
  const services = selection.services.map((service) => {
    const placement = service.spec.TaskTemplate.Placement;
    if (placement?.Constraints == null) return service;
    const Constraints = placement.Constraints.map((constraint) => mapConstraint(constraint, nodes));
    const TaskTemplate = { ...service.spec.TaskTemplate, Placement: { ...placement, Constraints } };
    return { ...service, spec: { ...service.spec, TaskTemplate } };
  });
  return { ...selection, services };
}

/** Swarmkit's grammar: key, == or !=, value, with spaces where one likes; keys and values whatever their case. */
export function mapConstraint(constraint: string, nodes: NodeMapping): string {
  const [, head, key, value] = /^(\s*(node\.id|node\.hostname)\s*[=!]=\s*)(.*?)\s*$/i.exec(constraint) ?? [];
  if (head === undefined || key === undefined || value === undefined) return constraint;
  const table = key.toLowerCase() === "node.id" ? nodes.ids : nodes.hostnames;
  const [, to] = [...table].find(([from]) => from.toLowerCase() === value.toLowerCase()) ?? [];
  return to === undefined ? constraint : `${head}${to}`;
}
