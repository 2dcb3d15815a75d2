// What runs in the swarm that is back, and where: what the probes ask for. Looked at before they ask and again afterwards,
// so that nothing is judged by a task that came or went meanwhile.
import { z } from "zod";
import { firstMachine, machineOf, type RecoveryTools } from "../recovery-tools.ts";
import type { StepContext } from "../steps.ts";
import { nodeIdsOf } from "../swarm-steps.ts";

export interface RunningTask {
  id: string;
  service: string;
  /** Null on a node that is no machine of the inventory. */
  machine: string | null;
  /** Of its container, on its node; 0 where it is not known. */
  pid: number;
  /** Its container's id; "" where it is not known. */
  container: string;
  /** It may have a firewall of its own (CAP_NET_ADMIN): its silence says nothing of its network. */
  guarded: boolean;
  /** But of ingress. */
  addresses: TaskAddress[];
  /** Published on its own node alone. */
  hostPorts: PublishedPort[];
}

export interface TaskAddress {
  network: string;
  driver: string;
  /** Of an overlay. */
  encrypted: boolean;
  /** IPv4. */
  address: string;
}

export interface PublishedPort {
  protocol: string;
  published: number;
  /** On which the container shall listen. */
  target: number;
}

export interface SwarmSight {
  /** On nodes that are ready. */
  tasks: RunningTask[];
  /** Services with a task that shall run and does not, or not on a node that is ready. */
  unsettled: ReadonlySet<string>;
  /** What each service publishes by ingress. */
  ingress: (PublishedPort & { service: string })[];
  /** Services that publish on the nodes of their tasks. */
  hostMode: string[];
}

const portSchema = z.looseObject({
  Protocol: z.string().optional(),
  PublishedPort: z.int().optional(),
  TargetPort: z.int().optional(),
  PublishMode: z.string().optional(),
});
const nodeSchema = z.looseObject({ ID: z.string(), Status: z.looseObject({ State: z.string() }) });
const serviceSchema = z.looseObject({
  ID: z.string(),
  Spec: z.looseObject({
    Name: z.string(),
    TaskTemplate: z.looseObject({
      ContainerSpec: z.looseObject({ CapabilityAdd: z.array(z.string()).nullish() }).nullish(),
    }),
  }),
  Endpoint: z.looseObject({ Ports: z.array(portSchema).nullish() }).nullish(),
});
const attachmentSchema = z.looseObject({
  Network: z.looseObject({
    Spec: z.looseObject({ Name: z.string().optional(), Ingress: z.boolean().optional() }),
    DriverState: z
      .looseObject({ Name: z.string().optional(), Options: z.record(z.string(), z.string()).nullish() })
      .nullish(),
  }),
  Addresses: z.array(z.string()).nullish(),
});
const taskSchema = z.looseObject({
  ID: z.string(),
  ServiceID: z.string().optional(),
  NodeID: z.string().optional(),
  Status: z.looseObject({
    State: z.string(),
    ContainerStatus: z.looseObject({ PID: z.int().optional(), ContainerID: z.string().optional() }).nullish(),
    PortStatus: z.looseObject({ Ports: z.array(portSchema).nullish() }).nullish(),
  }),
  NetworksAttachments: z.array(attachmentSchema).nullish(),
});
type TaskAnswer = z.infer<typeof taskSchema>;
type ServiceAnswer = z.infer<typeof serviceSchema>;

/** Throws what the engine of the first machine throws. */
export async function lookAtTasks(tools: RecoveryTools, context: StepContext): Promise<SwarmSight> {
  const { signal } = context;
  const manager = machineOf(tools, firstMachine(tools).name);
  const filters = JSON.stringify({ "desired-state": ["running"] });
  const [nodes, services, tasks] = await Promise.all([
    manager.engine(z.array(nodeSchema), { path: "/nodes" }, signal),
    manager.engine(z.array(serviceSchema), { path: "/services" }, signal),
    manager.engine(z.array(taskSchema), { path: "/tasks", query: { filters } }, signal),
  ]);
  const ready = new Set(nodes.filter(({ Status }) => Status.State === "ready").map(({ ID }) => ID));
  const machines = new Map([...nodeIdsOf(tools, context)].map(([name, id]) => [id, name]));
  return sightOf({ services, tasks, ready, machines });
}

/** `ready`: ids of nodes; `machines`: names by node id. */
export function sightOf(seen: {
  services: readonly ServiceAnswer[];
  tasks: readonly TaskAnswer[];
  ready: ReadonlySet<string>;
  machines: ReadonlyMap<string, string>;
}): SwarmSight {
  const { services, ready, machines } = seen;
  const byId = new Map(services.map((service) => [service.ID, service]));
  const tasks: RunningTask[] = [];
  const unsettled = new Set<string>();
  for (const task of seen.tasks) {
    const service = byId.get(task.ServiceID ?? "");
    if (service === undefined) continue;
    const { Name } = service.Spec;
    if (task.Status.State !== "running" || !ready.has(task.NodeID ?? "")) {
      unsettled.add(Name);
      continue;
    }
    tasks.push({
      ...{ id: task.ID, service: Name, machine: machines.get(task.NodeID ?? "") ?? null },
      pid: task.Status.ContainerStatus?.PID ?? 0,
      container: task.Status.ContainerStatus?.ContainerID ?? "",
      guarded: mayGuard(service),
      addresses: (task.NetworksAttachments ?? []).flatMap(addressesIn),
      hostPorts: distinct((task.Status.PortStatus?.Ports ?? []).map(portOf)),
    });
  }
  return {
    ...{ tasks, unsettled },
    ingress: services.flatMap(({ Spec, Endpoint }) =>
      (Endpoint?.Ports ?? [])
        .filter(({ PublishMode }) => PublishMode !== "host")
        .map((port) => ({ service: Spec.Name, ...portOf(port) })),
    ),
    hostMode: services
      .filter(({ Endpoint }) => (Endpoint?.Ports ?? []).some(({ PublishMode }) => PublishMode === "host"))
      .map(({ Spec }) => Spec.Name),
  };
}

function mayGuard({ Spec }: ServiceAnswer): boolean {
  const added = Spec.TaskTemplate.ContainerSpec?.CapabilityAdd ?? [];
  return added.some((name) => /^(CAP_)?(NET_ADMIN|ALL)$/i.test(name));
}

function addressesIn({ Network, Addresses }: z.infer<typeof attachmentSchema>): TaskAddress[] {
  const { Name: network, Ingress } = Network.Spec;
  if (network === undefined || Ingress === true) return [];
  const { Name: driver = "", Options } = Network.DriverState ?? {};
  const encrypted = Options?.["encrypted"] !== undefined;
  return (Addresses ?? []).flatMap((text) => {
    const [address = ""] = text.split("/");
    return z.ipv4().safeParse(address).success ? [{ network, driver, encrypted, address }] : [];
  });
}

function portOf({ Protocol, PublishedPort: published, TargetPort }: z.infer<typeof portSchema>): PublishedPort {
  return { protocol: Protocol ?? "tcp", published: published ?? 0, target: TargetPort ?? 0 };
}

/** Newer engines list a port for IPv4 and for IPv6. */
function distinct(ports: readonly PublishedPort[]): PublishedPort[] {
  const known = new Map(ports.map((port) => [`${port.published}/${port.protocol}`, port]));
  return [...known.values()].filter(({ published }) => published !== 0);
}

/** Services of which the same tasks ran in both, and every one that shall. */
export function settledServices(before: SwarmSight, after: SwarmSight): Set<string> {
  const idsIn = ({ tasks }: SwarmSight, service: string): string =>
    tasks
      .filter((task) => task.service === service)
      .map(({ id }) => id)
      .sort()
      .join();
  const services = new Set(before.tasks.map(({ service }) => service));
  const isSettled = (service: string): boolean =>
    !before.unsettled.has(service) && !after.unsettled.has(service) && idsIn(before, service) === idsIn(after, service);
  return new Set([...services].filter(isSettled));
}
