// Services and tasks. Source: moby daemon/cluster/convert/{service,task}.go, api/types/swarm/{service,task}.go.
import { decodeMessage, enumName, type Message } from "../swarmkit/message-types.ts";
import { containerSpec } from "./container.ts";
import { attachedNetwork } from "./network.ts";
import {
  annotations,
  driver,
  filled,
  float32,
  genericResources,
  integer,
  meta,
  nanoseconds,
  omitEmpty,
  platform,
  time,
  version,
  type Json,
} from "./values.ts";

export function service(of: Message<"Service">): Json {
  const { updateStatus, jobStatus } = of;
  return {
    ID: of.id,
    ...meta(of.meta),
    Spec: serviceSpec(of.spec),
    ...omitEmpty({ PreviousSpec: of.previousSpec === undefined ? undefined : serviceSpec(of.previousSpec) }),
    Endpoint: endpoint(of.endpoint),
    ...omitEmpty({
      UpdateStatus:
        updateStatus === undefined
          ? undefined
          : omitEmpty({
              State: updateStatus.state === 0 ? undefined : enumName("UpdateStatus.UpdateState", updateStatus.state),
              StartedAt: updateStatus.startedAt === undefined ? undefined : time(updateStatus.startedAt),
              CompletedAt: updateStatus.completedAt === undefined ? undefined : time(updateStatus.completedAt),
              Message: updateStatus.message,
            }),
      JobStatus:
        jobStatus === undefined
          ? undefined
          : {
              JobIteration: version(jobStatus.jobIteration),
              LastExecution: time(jobStatus.lastExecution),
            },
    }),
  };
}

/** Value of X-Registry-Auth with which it was made; the API never shows it. Null without. */
export function registryAuthOf(task: Message<"TaskSpec"> | undefined): string | null {
  const auth = task?.runtime.case === "container" ? task.runtime.value.pullOptions?.registryAuth : undefined;
  return auth === undefined || auth === "" ? null : auth;
}

export function serviceSpec(of: Message<"ServiceSpec"> | undefined): Json {
  if (of === undefined) return {};
  return {
    ...annotations(of.annotations),
    TaskTemplate: { ...taskSpec(of.task), Runtime: runtimeName(of.task?.runtime) },
    Mode: mode(of.mode),
    ...omitEmpty({
      UpdateConfig: updateConfig(of.update),
      RollbackConfig: updateConfig(of.rollback),
      Networks: of.networks.map(attachmentConfig),
      EndpointSpec: of.endpoint === undefined ? undefined : endpointSpec(of.endpoint),
    }),
  };
}

function mode(of: Message<"ServiceSpec">["mode"]): Json {
  switch (of.case) {
    case "replicated":
      return { Replicated: { Replicas: integer(of.value.replicas) } };
    case "global":
      return { Global: {} };
    case "replicatedJob":
      return {
        ReplicatedJob: {
          MaxConcurrent: integer(of.value.maxConcurrent),
          TotalCompletions: integer(of.value.totalCompletions),
        },
      };
    case "globalJob":
      return { GlobalJob: {} };
    case undefined:
      return {};
  }
}

export function taskSpec(of: Message<"TaskSpec"> | undefined): Json {
  if (of === undefined) return { ForceUpdate: 0 };
  const { runtime } = of;
  return {
    ...omitEmpty({
      ContainerSpec: runtime.case === "container" ? containerSpec(runtime.value) : undefined,
      PluginSpec: runtime.case === "generic" ? pluginSpec(runtime.value) : undefined,
      NetworkAttachmentSpec: runtime.case === "attachment" ? { ContainerID: runtime.value.containerId } : undefined,
      Resources: resources(of),
      RestartPolicy: of.restart === undefined ? undefined : restartPolicy(of.restart),
      Placement: of.placement === undefined ? undefined : placement(of.placement),
      Networks: of.networks.map(attachmentConfig),
      LogDriver: driver(of.logDriver),
    }),
    ForceUpdate: integer(of.forceUpdate),
    ...(runtime.case === "attachment" ? { Runtime: runtime.case } : {}),
  };
}

function runtimeName(of: Message<"TaskSpec">["runtime"] | undefined): string {
  return of?.case === "generic" ? of.value.kind : (of?.case ?? "container");
}

function pluginSpec(of: Message<"GenericRuntimeSpec">): Json | undefined {
  if (of.kind !== "plugin" || of.payload === undefined) return undefined;
  const spec = decodeMessage("PluginSpec", of.payload.value);
  return omitEmpty({
    name: spec.name,
    remote: spec.remote,
    privileges: spec.privileges.map(({ name, description, value }) => omitEmpty({ name, description, value })),
    disabled: spec.disabled,
    env: spec.env,
  });
}

function resources(of: Message<"TaskSpec">): Json | undefined {
  const pids = of.runtime.case === "container" ? of.runtime.value.pidsLimit : 0n;
  const { limits, reservations, swapBytes, memorySwappiness } = of.resources ?? {};
  if (of.resources === undefined && pids === 0n) return undefined;
  const amounts = omitEmpty({
    Limits:
      limits === undefined && pids === 0n
        ? undefined
        : omitEmpty({
            NanoCPUs: integer(limits?.nanoCpus ?? 0n),
            MemoryBytes: integer(limits?.memoryBytes ?? 0n),
            Pids: integer(pids),
          }),
    Reservations: reservations === undefined ? undefined : resourceAmounts(reservations),
  });
  return {
    ...amounts,
    // Here 0 differs from absent.
    ...(swapBytes === undefined ? {} : { SwapBytes: integer(swapBytes.value) }),
    ...(memorySwappiness === undefined ? {} : { MemorySwappiness: integer(memorySwappiness.value) }),
  };
}

export function resourceAmounts(of: Message<"Resources">): Json {
  return omitEmpty({
    NanoCPUs: integer(of.nanoCpus),
    MemoryBytes: integer(of.memoryBytes),
    GenericResources: genericResources(of.generic),
  });
}

function restartPolicy(of: Message<"RestartPolicy">): Json {
  return {
    ...omitEmpty({
      Condition: enumName("RestartPolicy.RestartCondition", of.condition).replace("_", "-"),
      Delay: nanoseconds(of.delay),
    }),
    MaxAttempts: integer(of.maxAttempts),
    ...omitEmpty({ Window: nanoseconds(of.window) }),
  };
}

function placement(of: Message<"Placement">): Json {
  return omitEmpty({
    Constraints: of.constraints,
    Preferences: of.preferences.map(({ preference }) =>
      preference.case === "spread" ? { Spread: { SpreadDescriptor: preference.value.spreadDescriptor } } : {},
    ),
    MaxReplicas: integer(of.maxReplicas),
    Platforms: of.platforms.map(platform),
  });
}

function attachmentConfig(of: Message<"NetworkAttachmentConfig">): Json {
  return omitEmpty({ Target: of.target, Aliases: of.aliases, DriverOpts: filled(of.driverAttachmentOpts) });
}

function updateConfig(of: Message<"UpdateConfig"> | undefined): Json | undefined {
  if (of === undefined) return undefined;
  return {
    Parallelism: integer(of.parallelism),
    ...omitEmpty({
      Delay: nanoseconds(of.delay),
      FailureAction: enumName("UpdateConfig.FailureAction", of.failureAction),
      Monitor: nanoseconds(of.monitor),
    }),
    MaxFailureRatio: float32(of.maxFailureRatio),
    Order: enumName("UpdateConfig.UpdateOrder", of.order).replace("_", "-"),
  };
}

function endpointSpec(of: Message<"EndpointSpec">): Json {
  return omitEmpty({ Mode: enumName("EndpointSpec.ResolutionMode", of.mode), Ports: of.ports.map(port) });
}

function endpoint(of: Message<"Endpoint"> | undefined): Json {
  return {
    Spec: of?.spec === undefined ? {} : endpointSpec(of.spec),
    ...omitEmpty({
      Ports: of?.ports.map(port),
      VirtualIPs: of?.virtualIps.map(({ networkId, addr }) => omitEmpty({ NetworkID: networkId, Addr: addr })),
    }),
  };
}

export function port(of: Message<"PortConfig">): Json {
  return omitEmpty({
    Name: of.name,
    Protocol: enumName("PortConfig.Protocol", of.protocol),
    TargetPort: of.targetPort,
    PublishedPort: of.publishedPort,
    PublishMode: enumName("PortConfig.PublishMode", of.publishMode),
  });
}

export function task(of: Message<"Task">): Json {
  return {
    ID: of.id,
    ...meta(of.meta),
    ...annotations(of.annotations),
    Spec: taskSpec(of.spec),
    ...omitEmpty({ ServiceID: of.serviceId, Slot: integer(of.slot), NodeID: of.nodeId }),
    Status: taskStatus(of.status),
    DesiredState: enumName("TaskState", of.desiredState),
    ...omitEmpty({
      NetworksAttachments: of.networks.map(({ network, addresses }) => ({
        Network: attachedNetwork(network),
        ...omitEmpty({ Addresses: addresses }),
      })),
      GenericResources: genericResources(of.assignedGenericResources),
      JobIteration: of.jobIteration === undefined ? undefined : version(of.jobIteration),
      Volumes: of.volumes.map(({ id, source, target }) => omitEmpty({ ID: id, Source: source, Target: target })),
    }),
  };
}

function taskStatus(of: Message<"TaskStatus"> | undefined): Json {
  const container = of?.runtimeStatus.case === "container" ? of.runtimeStatus.value : undefined;
  return {
    ...omitEmpty({
      Timestamp: time(of?.timestamp),
      State: enumName("TaskState", of?.state ?? 0),
      Message: of?.message,
      Err: of?.err,
      ContainerStatus:
        container === undefined
          ? undefined
          : { ContainerID: container.containerId, PID: container.pid, ExitCode: container.exitCode },
    }),
    PortStatus: omitEmpty({ Ports: of?.portStatus?.ports.map(port) }),
  };
}
