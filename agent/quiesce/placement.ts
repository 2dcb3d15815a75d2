// Where a service may run, by its constraints and platforms: the swarm's own rules (swarmkit's constraint package), so
// that a service that was stopped for its data is sure to start where that data is.
import { heldConstraint } from "../../shared/held-spec.ts";
import { volumeKind } from "../../shared/volume-kind.ts";
import { sharedIdOf } from "../source/volume-kind.ts";
import type { SpecMount, SwarmNode, SwarmService } from "../docker-objects.ts";

/** `node.labels.disk!=slow`: key, whether equal is wanted, value. Null for what Docker would not have taken. */
function parseConstraint(text: string): { key: string; equal: boolean; value: string } | null {
  const found = /^\s*([^\s=!]+)\s*(==|!=)\s*(.*?)\s*$/.exec(text);
  const [, key, operator, value] = found ?? [];
  return key === undefined || value === undefined ? null : { key, equal: operator === "==", value };
}

function valueOn(node: SwarmNode, key: string): string {
  const { Description, Spec, Status } = node;
  const labelOf = (labels: Record<string, string> | null | undefined, prefix: string): string =>
    labels?.[key.slice(prefix.length)] ?? "";
  switch (key.toLowerCase()) {
    case "node.id":
      return node.ID;
    case "node.hostname":
      return Description.Hostname;
    case "node.role":
      return Spec.Role;
    case "node.ip":
      return Status.Addr ?? "";
    case "node.platform.os":
      return Description.Platform?.OS ?? "";
    case "node.platform.arch":
      return Description.Platform?.Architecture ?? "";
    default:
      if (key.startsWith("node.labels.")) return labelOf(Spec.Labels, "node.labels.");
      if (key.startsWith("engine.labels.")) return labelOf(Description.Engine?.Labels, "engine.labels.");
      return "";
  }
}

/** Docker's names of the same machine. */
const sameArchitecture: Readonly<Record<string, string>> = { x86_64: "amd64", aarch64: "arm64" };
const architecture = (name: string): string => sameArchitecture[name] ?? name;

/** Nodes that may run the service's tasks, now or when they are back. A drained one may not. */
export function eligibleNodes(service: Pick<SwarmService, "Spec">, nodes: readonly SwarmNode[]): SwarmNode[] {
  const active = nodes.filter(({ Spec }) => Spec.Availability === "active");
  return allowedNodes(active, service, service.Spec.TaskTemplate.Placement?.Constraints ?? []);
}

/** Nodes for which the service is meant: whatever their availability, and though Skep or its owner holds it. Null: any. */
export function meantNodes(service: Pick<SwarmService, "Spec">, nodes: readonly SwarmNode[]): SwarmNode[] | null {
  const constraints = service.Spec.TaskTemplate.Placement?.Constraints ?? [];
  const own = constraints.filter((constraint) => constraint !== heldConstraint);
  const allowed = allowedNodes(nodes, service, own);
  return allowed.length === 0 || allowed.length === nodes.length ? null : allowed;
}

function allowedNodes(
  nodes: readonly SwarmNode[],
  service: Pick<SwarmService, "Spec">,
  constraints: readonly string[],
): SwarmNode[] {
  const platforms = service.Spec.TaskTemplate.Placement?.Platforms ?? [];
  return nodes.filter((node) => {
    const { OS = "", Architecture = "" } = node.Description.Platform ?? {};
    const fits = platforms.some(
      (wanted) =>
        (!wanted.OS || !OS || wanted.OS === OS) &&
        (!wanted.Architecture || !Architecture || architecture(wanted.Architecture) === architecture(Architecture)),
    );
    if (platforms.length > 0 && !fits) return false;
    return constraints.every((text) => {
      const constraint = parseConstraint(text);
      if (constraint === null) return false;
      const { key, equal, value } = constraint;
      return (valueOn(node, key).toLowerCase() === value.toLowerCase()) === equal;
    });
  });
}

/** Names of the volumes of a service whose bytes lie on one node; `shared`: those known to be seen by several. */
export function localVolumes(service: Pick<SwarmService, "Spec">, shared: ReadonlySet<string>): string[] {
  const mounts = service.Spec.TaskTemplate.ContainerSpec?.Mounts ?? [];
  return mounts.filter((mount) => liesOnOneNode(mount, shared)).map(({ Source }) => Source ?? "");
}

function liesOnOneNode({ Type, Source, VolumeOptions }: SpecMount, shared: ReadonlySet<string>): boolean {
  // Without a name each container gets a fresh one: nothing that could be left behind.
  if (Type !== "volume" || Source === undefined || Source === "" || shared.has(Source)) return false;
  const { Name, Options } = VolumeOptions?.DriverConfig ?? {};
  const volume = { Name: Source, Driver: Name === undefined || Name === "" ? "local" : Name, Options: Options ?? {} };
  if (volumeKind(volume).kind === "plugin") return false;
  return sharedIdOf({ ...volume, Mountpoint: "", Labels: {}, Scope: "local" }) === null;
}
