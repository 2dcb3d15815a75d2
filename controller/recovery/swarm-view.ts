// The parts of a swarm's state that a recovery decides by, taken from the copy. Shapes are those of the Engine API.
import { z } from "zod";
import type { OpenedSwarm } from "../../shared/raft/open-swarm.ts";
import { copiedSettings } from "./rebuild/settings.ts";
import { serviceSpecSchema, type ServiceSpec } from "../objects/portable.ts";

const textMap = z.record(z.string(), z.string()).nullish();

const nodeSchema = z.looseObject({
  ID: z.string(),
  Spec: z.looseObject({ Labels: textMap, Role: z.string(), Availability: z.string() }),
  Description: z.looseObject({
    Hostname: z.string().optional(),
    Engine: z.looseObject({ EngineVersion: z.string().optional() }).optional(),
    Platform: z.looseObject({ Architecture: z.string().optional() }).optional(),
  }),
});

const serviceSchema = z.looseObject({
  ID: z.string(),
  Spec: z.looseObject({
    Name: z.string(),
    Labels: textMap,
    Mode: z.record(z.string(), z.unknown()),
    EndpointSpec: z.looseObject({ Ports: z.array(z.unknown()).nullish() }).nullish(),
    TaskTemplate: z.looseObject({
      ContainerSpec: z
        .looseObject({
          Image: z.string().optional(),
          Mounts: z
            .array(
              z.looseObject({
                Type: z.string(),
                Source: z.string().optional(),
                VolumeOptions: z.looseObject({ DriverConfig: z.looseObject({ Name: z.string() }).nullish() }).nullish(),
              }),
            )
            .nullish(),
        })
        .optional(),
      Placement: z.looseObject({ Constraints: z.array(z.string()).nullish() }).nullish(),
    }),
  }),
});
type ServiceJson = z.infer<typeof serviceSchema>;

const networkSchema = z.looseObject({
  Name: z.string(),
  Driver: z.string(),
  IPAM: z.looseObject({ Config: z.array(z.looseObject({ Subnet: z.string().optional() })).nullish() }).nullish(),
});

const clusterSchema = z.looseObject({
  Spec: z.looseObject({
    EncryptionConfig: z.looseObject({ AutoLockManagers: z.boolean().optional() }).nullish(),
    CAConfig: z
      .looseObject({ ExternalCAs: z.array(z.looseObject({ URL: z.string().optional() })).nullish() })
      .nullish(),
  }),
});
const taskSchema = z.looseObject({
  ID: z.string(),
  ServiceID: z.string().optional(),
  Status: z.looseObject({ State: z.string() }),
});

export interface OldNode {
  id: string;
  hostname: string;
  role: string;
  availability: string;
  labels: Record<string, string>;
  engineVersion: string;
  /** As Docker says it: x86_64, aarch64; "" where it is not known. */
  architecture: string;
}

export interface OldService {
  id: string;
  name: string;
  /** Skep's own: let go last. */
  own: boolean;
  mode: "replicated" | "global" | "job";
  replicas: number;
  image: string;
  /** Names of volumes of driver `local`, without a name that each task would get anew. */
  volumes: string[];
  hasVolumes: boolean;
  hasPorts: boolean;
  constraints: string[];
  /** A job all of whose tasks ended: it is not run again. */
  ended: boolean;
  spec: ServiceSpec;
}

export interface SwarmView {
  clusterId: string;
  nodes: OldNode[];
  services: OldService[];
  networks: { name: string; driver: string; subnets: string[] }[];
  /** UDP port of overlay traffic. */
  dataPathPort: number;
  /** Of all tasks that it has. Default: none. */
  taskIds?: string[];
  /** When the newest object was made or changed, ISO 8601; null where nobody looked. */
  lastChangeAt?: string | null;
  /** Names, sorted. Default: none. */
  secrets?: string[];
  /** Autolock is on. Default: not. */
  locked?: boolean;
  /** URLs of CAs that sign in place of the swarm's own. Default: none. */
  externalCas?: string[];
  /** Of the copied manager's certificate, ISO 8601; null where nobody looked. */
  certificateExpiresAt?: string | null;
}

/** Docker's, where the swarm was made without another (docker swarm init --data-path-port). */
export const usualDataPathPort = 4789;

export const ownLabel = "io.skep.own";
const livingStates = new Set(["new", "allocated", "pending", "assigned", "accepted", "preparing", "ready"]);

export function viewSwarm(swarm: OpenedSwarm): SwarmView {
  const all = <T>(schema: z.ZodType<T>, kind: "node" | "service" | "network" | "task" | "cluster"): T[] =>
    swarm.list(kind).map(({ id }) => schema.parse(swarm.get(kind, id, false)));
  const tasks = all(taskSchema, "task");
  return {
    clusterId: swarm.state.clusterId,
    nodes: all(nodeSchema, "node").map((node) => ({
      id: node.ID,
      hostname: node.Description.Hostname ?? "",
      role: node.Spec.Role,
      availability: node.Spec.Availability,
      labels: node.Spec.Labels ?? {},
      engineVersion: node.Description.Engine?.EngineVersion ?? "",
      architecture: node.Description.Platform?.Architecture ?? "",
    })),
    dataPathPort: copiedSettings(swarm.state)?.dataPathPort ?? usualDataPathPort,
    services: all(serviceSchema, "service").map((service) => viewService(service, tasks)),
    taskIds: tasks.map(({ ID }) => ID),
    lastChangeAt: lastChangeOf(swarm),
    secrets: swarm
      .list("secret")
      .map(({ name }) => name)
      .sort(),
    locked: all(clusterSchema, "cluster").some(({ Spec }) => Spec.EncryptionConfig?.AutoLockManagers === true),
    externalCas: all(clusterSchema, "cluster").flatMap(({ Spec }) =>
      (Spec.CAConfig?.ExternalCAs ?? []).map(({ URL: url }) => url ?? "without an address"),
    ),
    certificateExpiresAt: swarm.state.proof.certificateExpiresAt ?? null,
    networks: all(networkSchema, "network").map(({ Name, Driver, IPAM }) => ({
      name: Name,
      driver: Driver,
      subnets: (IPAM?.Config ?? []).flatMap(({ Subnet }) => (Subnet === undefined ? [] : [Subnet])),
    })),
  };
}

const changedSchema = z.looseObject({ UpdatedAt: z.string().optional() });
const changingKinds = ["cluster", "node", "service", "network", "task", "secret", "config"] as const;

function lastChangeOf(swarm: OpenedSwarm): string | null {
  let last: number | null = null;
  for (const kind of changingKinds) {
    for (const { id } of swarm.list(kind)) {
      const { UpdatedAt } = changedSchema.parse(swarm.get(kind, id, false));
      const at = UpdatedAt === undefined ? NaN : Date.parse(UpdatedAt);
      if (!Number.isNaN(at) && (last === null || at > last)) last = at;
    }
  }
  return last === null ? null : new Date(last).toISOString();
}

function viewService({ ID, Spec }: ServiceJson, tasks: readonly z.infer<typeof taskSchema>[]): OldService {
  // As JSON has it, without fields that are undefined.
  const spec = serviceSpecSchema.parse(JSON.parse(JSON.stringify(Spec)));
  const { Labels, Mode, TaskTemplate, EndpointSpec } = Spec;
  const mounts = TaskTemplate.ContainerSpec?.Mounts ?? [];
  const volumes = mounts.filter(({ Type }) => Type === "volume");
  const replicated = Mode["Replicated"] as { Replicas?: number } | null | undefined;
  const isGlobal = Mode["Global"] !== undefined && Mode["Global"] !== null;
  const mode = replicated ? "replicated" : isGlobal ? "global" : "job";
  const living = tasks.some(
    ({ ServiceID, Status }) =>
      ServiceID === ID && (livingStates.has(Status.State) || Status.State === "running" || Status.State === "starting"),
  );
  return {
    id: ID,
    name: Spec.Name,
    own: Labels?.[ownLabel] === "true",
    mode,
    replicas: replicated?.Replicas ?? (mode === "replicated" ? 1 : 0),
    image: TaskTemplate.ContainerSpec?.Image ?? "",
    volumes: volumes.flatMap(({ Source, VolumeOptions }) =>
      Source !== undefined && Source !== "" && (VolumeOptions?.DriverConfig?.Name ?? "local") === "local"
        ? [Source]
        : [],
    ),
    hasVolumes: volumes.length > 0,
    hasPorts: (EndpointSpec?.Ports ?? []).length > 0,
    constraints: TaskTemplate.Placement?.Constraints ?? [],
    ended: mode === "job" && !living,
    spec,
  };
}
