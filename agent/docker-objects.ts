// The parts of Docker's API objects that Skep reads, checked as they come in. Loose: what is not named here is
// kept as it came, so that the archive of definitions holds whole objects. Field names are Docker's own.
import { z } from "zod";

const text = z.string();
/** Go's nil maps and slices arrive as null. */
const textMap = z.record(text, text).nullish();

export const infoSchema = z.looseObject({
  ID: text,
  Name: text,
  ServerVersion: text,
  DockerRootDir: text,
  KernelVersion: text,
  OperatingSystem: text,
  OSType: text,
  Architecture: text,
  /** Pairs; where the containerd image store keeps the images, one is called "driver-type". */
  DriverStatus: z.array(z.array(text)).nullish(),
  SystemTime: text.optional(),
  Swarm: z.looseObject({
    NodeID: text,
    NodeAddr: text,
    LocalNodeState: z.enum(["inactive", "pending", "active", "error", "locked"]),
    ControlAvailable: z.boolean(),
    /** How many the swarm has; only managers say it. */
    Managers: z.int().optional(),
    Error: text,
    Cluster: z.looseObject({ ID: text }).nullish(),
  }),
});
export type EngineInfo = z.infer<typeof infoSchema>;

const versionSchema = z.looseObject({ Index: z.int().min(0) });

export const nodeSchema = z.looseObject({
  ID: text,
  Version: versionSchema,
  Spec: z.looseObject({
    Labels: textMap,
    Role: z.enum(["manager", "worker"]),
    Availability: z.enum(["active", "pause", "drain"]),
  }),
  Description: z.looseObject({
    Hostname: text,
    Platform: z.looseObject({ Architecture: text.optional(), OS: text.optional() }).optional(),
    Engine: z.looseObject({ EngineVersion: text.optional(), Labels: textMap }).optional(),
  }),
  Status: z.looseObject({ State: text, Addr: text.optional() }),
  ManagerStatus: z
    .looseObject({ Leader: z.boolean().optional(), Reachability: text.optional(), Addr: text.optional() })
    .nullish(),
});
export type SwarmNode = z.infer<typeof nodeSchema>;

const mountSchema = z.looseObject({
  Type: text,
  Source: text.optional(),
  Target: text.optional(),
  VolumeOptions: z
    .looseObject({ DriverConfig: z.looseObject({ Name: text.optional(), Options: textMap }).nullish() })
    .nullish(),
});
export type SpecMount = z.infer<typeof mountSchema>;

const serviceSpecSchema = z.looseObject({
  Name: text,
  Labels: textMap,
  Mode: z.looseObject({
    Replicated: z.looseObject({ Replicas: z.int().min(0).optional() }).nullish(),
    Global: z.looseObject({}).nullish(),
    ReplicatedJob: z.looseObject({}).nullish(),
    GlobalJob: z.looseObject({}).nullish(),
  }),
  TaskTemplate: z.looseObject({
    ContainerSpec: z
      .looseObject({ Image: text.optional(), Labels: textMap, Mounts: z.array(mountSchema).nullish() })
      .optional(),
    Placement: z
      .looseObject({
        Constraints: z.array(text).nullish(),
        Platforms: z.array(z.looseObject({ Architecture: text.optional(), OS: text.optional() })).nullish(),
      })
      .nullish(),
  }),
});

export const serviceSchema = z.looseObject({
  ID: text,
  Version: versionSchema,
  Spec: serviceSpecSchema,
  PreviousSpec: serviceSpecSchema.nullish(),
  /** Of its last update, by Docker's updater; cleared by any update. */
  UpdateStatus: z.looseObject({ State: text.optional() }).nullish(),
  /** Of its last change. */
  UpdatedAt: z.iso.datetime({ offset: true }).optional(),
});
export type SwarmService = z.infer<typeof serviceSchema>;

export const taskSchema = z.looseObject({
  ID: text,
  ServiceID: text.optional(),
  NodeID: text.optional(),
  DesiredState: text,
  Status: z.looseObject({ State: text }),
});
export type SwarmTask = z.infer<typeof taskSchema>;

/** Configs and secrets; a secret's data is never in it. */
export const namedObjectSchema = z.looseObject({
  ID: text,
  Version: versionSchema,
  Spec: z.looseObject({ Name: text, Labels: textMap, Data: z.base64().optional() }),
});
export type NamedObject = z.infer<typeof namedObjectSchema>;

export const networkSchema = z.looseObject({ Id: text, Name: text, Scope: text, Driver: text });
export type Network = z.infer<typeof networkSchema>;

export const volumeSchema = z.looseObject({
  Name: text,
  Driver: text,
  Mountpoint: text,
  Options: textMap,
  Labels: textMap,
  Scope: z.enum(["local", "global"]),
  CreatedAt: text.optional(),
});
export type Volume = z.infer<typeof volumeSchema>;

export const containerSchema = z.looseObject({
  Id: text,
  Names: z.array(text),
  /** What it was asked for by, or its id; and its id. */
  Image: text,
  ImageID: text,
  State: text,
  Labels: textMap,
  Mounts: z
    .array(
      z.looseObject({
        Type: text.optional(),
        Name: text.optional(),
        Source: text.optional(),
        Destination: text,
        Driver: text.optional(),
        RW: z.boolean().optional(),
      }),
    )
    .nullish(),
});
export type Container = z.infer<typeof containerSchema>;

/** Of one container, what stopping it and starting it again wants to know. */
export const inspectedContainerSchema = z.looseObject({
  Id: text,
  /** With a `/` before it. */
  Name: text,
  /** Running: also while it is paused, or waits to be restarted. StartedAt: of its present or last life. */
  State: z.looseObject({
    Running: z.boolean(),
    StartedAt: text,
    /** `starting`, `healthy`, `unhealthy`; absent or `none` without a health check. */
    Health: z.looseObject({ Status: text }).nullish(),
  }),
  HostConfig: z.looseObject({
    AutoRemove: z.boolean().optional(),
    RestartPolicy: z.looseObject({ Name: text }).nullish(),
    NetworkMode: text.optional(),
    PidMode: text.optional(),
    IpcMode: text.optional(),
  }),
  /** Seconds before it is killed; absent: 10; -1: never. */
  Config: z.looseObject({ StopTimeout: z.int().nullish(), Labels: textMap }),
});
export type InspectedContainer = z.infer<typeof inspectedContainerSchema>;

export function containerName(container: Container): string {
  return (container.Names[0] ?? container.Id.slice(0, 12)).replace(/^\//, "");
}

/** Go's nil arrives as null; an image that lost its name is called `<none>`. */
const imageNames = z
  .array(text)
  .nullish()
  .transform((names) => (names ?? []).filter((name) => !name.startsWith("<none>")));
export const listedImageSchema = z.looseObject({
  Id: text,
  RepoTags: imageNames,
  RepoDigests: imageNames,
  Size: z.int().min(0),
});
export type ListedImage = z.infer<typeof listedImageSchema>;
export const inspectedImageSchema = listedImageSchema.extend({
  Architecture: text,
  Os: text,
  /** Digests of its layers, the lowest first. */
  RootFS: z.looseObject({ Layers: z.array(text).nullish() }).optional(),
});
export type InspectedImage = z.infer<typeof inspectedImageSchema>;

export const pluginSchema = z.looseObject({ Name: text, Enabled: z.boolean() });
export type Plugin = z.infer<typeof pluginSchema>;

export const engineEventSchema = z.looseObject({
  Type: text,
  Action: text,
  Actor: z.looseObject({ ID: text, Attributes: textMap }),
});
export type EngineEvent = z.infer<typeof engineEventSchema>;
