// Nodes and cluster volumes. Source: moby daemon/cluster/convert/{node,volume}.go, api/types/swarm/node.go,
// api/types/volume/cluster_volume.go. ManagerStatus is not here: the engine makes it up when asked.
import { enumName, type Message } from "../swarmkit/message-types.ts";
import { resourceAmounts } from "./service.ts";
import { annotations, base64, driver, filled, integer, meta, omitEmpty, platform, type Json } from "./values.ts";

export function node(of: Message<"Node">): Json {
  return {
    ID: of.id,
    ...meta(of.meta),
    Spec: {
      ...annotations(of.spec?.annotations),
      ...omitEmpty({
        Role: enumName("NodeRole", of.spec?.desiredRole ?? 0),
        Availability: enumName("NodeSpec.Availability", of.spec?.availability ?? 0),
      }),
    },
    Description: of.description === undefined ? {} : description(of.description),
    Status: omitEmpty({
      State: enumName("NodeStatus.State", of.status?.state ?? 0),
      Message: of.status?.message,
      Addr: of.status?.addr,
    }),
  };
}

function description(of: Message<"NodeDescription">): Json {
  const { engine, tlsInfo } = of;
  return {
    ...omitEmpty({ Hostname: of.hostname }),
    Platform: of.platform === undefined ? {} : platform(of.platform),
    Resources: of.resources === undefined ? {} : resourceAmounts(of.resources),
    Engine:
      engine === undefined
        ? {}
        : omitEmpty({
            EngineVersion: engine.engineVersion,
            Labels: filled(engine.labels),
            Plugins: engine.plugins.map(({ type, name }) => omitEmpty({ Type: type, Name: name })),
          }),
    TLSInfo:
      tlsInfo === undefined
        ? {}
        : omitEmpty({
            TrustRoot: Buffer.from(tlsInfo.trustRoot).toString(),
            CertIssuerSubject: base64(tlsInfo.certIssuerSubject),
            CertIssuerPublicKey: base64(tlsInfo.certIssuerPublicKey),
          }),
    ...omitEmpty({
      CSIInfo: of.csiInfo.map((info) =>
        omitEmpty({
          PluginName: info.pluginName,
          NodeID: info.nodeId,
          MaxVolumesPerNode: integer(info.maxVolumesPerNode),
          AccessibleTopology: topology(info.accessibleTopology),
        }),
      ),
    }),
  };
}

export function volume(of: Message<"Volume">): Json {
  const { spec, volumeInfo } = of;
  return {
    ID: of.id,
    ...meta(of.meta),
    Name: spec?.annotations?.name ?? "",
    Labels: spec?.annotations?.labels ?? {},
    Driver: spec?.driver?.name ?? "",
    Options: filled(spec?.driver?.options ?? {}) ?? null,
    Spec: spec === undefined ? {} : volumeSpec(spec),
    ...omitEmpty({
      PublishStatus: of.publishStatus.map((status) =>
        omitEmpty({
          NodeID: status.nodeId,
          State: enumName("VolumePublishStatus.State", status.state).replaceAll("_", "-"),
          PublishContext: filled(status.publishContext),
          Message: status.message,
        }),
      ),
      Info:
        volumeInfo === undefined
          ? undefined
          : omitEmpty({
              CapacityBytes: integer(volumeInfo.capacityBytes),
              VolumeContext: filled(volumeInfo.volumeContext),
              VolumeID: volumeInfo.volumeId,
              AccessibleTopology: volumeInfo.accessibleTopology.map(topology),
            }),
    }),
  };
}

function volumeSpec(of: Message<"VolumeSpec">): Json {
  const { accessMode: mode, accessibilityRequirements: reach, capacityRange: capacity } = of;
  return omitEmpty({
    Group: of.group,
    Driver: driver(of.driver),
    AccessMode:
      mode === undefined
        ? undefined
        : omitEmpty({
            Scope: mode.scope === 0 ? "single" : "multi",
            Sharing: sharing[mode.sharing] ?? String(mode.sharing),
            MountVolume:
              mode.accessType.case === "mount"
                ? omitEmpty({ FsType: mode.accessType.value.fsType, MountFlags: mode.accessType.value.mountFlags })
                : undefined,
            BlockVolume: mode.accessType.case === "block" ? {} : undefined,
          }),
    Secrets: of.secrets.map(({ key, secret }) => ({ Key: key, Secret: secret })),
    AccessibilityRequirements:
      reach === undefined
        ? undefined
        : omitEmpty({ Requisite: reach.requisite.map(topology), Preferred: reach.preferred.map(topology) }),
    CapacityRange:
      capacity === undefined
        ? undefined
        : { RequiredBytes: integer(capacity.requiredBytes), LimitBytes: integer(capacity.limitBytes) },
    Availability: enumName("VolumeSpec.VolumeAvailability", of.availability),
  });
}

const sharing: Record<number, string> = { 0: "none", 1: "readonly", 2: "onewriter", 3: "all" };

function topology(of: Message<"Topology"> | undefined): Json | undefined {
  return of === undefined ? undefined : omitEmpty({ Segments: filled(of.segments) });
}
