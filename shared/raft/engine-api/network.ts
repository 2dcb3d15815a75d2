// Networks, as GET /networks shows those of a swarm, and as tasks and nodes carry them.
// Source: moby daemon/cluster/convert/network.go, api/types/swarm/network.go.
import type { Message } from "../swarmkit/message-types.ts";
import { annotations, driver, filled, meta, omitEmpty, time, version, type Json } from "./values.ts";

export function network(of: Message<"Network">): Json {
  const { spec, ipam, driverState } = of;
  const from = spec?.configFrom.case === "network" ? spec.configFrom.value : "";
  return {
    Name: spec?.annotations?.name ?? "",
    Id: of.id,
    Created: time(of.meta?.createdAt),
    Scope: "swarm",
    Driver: driverState?.name ?? "",
    EnableIPv6: spec?.ipv6Enabled ?? false,
    IPAM: {
      Driver: ipam?.driver?.name ?? "",
      Options: filled(ipam?.driver?.options ?? {}) ?? null,
      Config: (ipam?.configs ?? []).map((config) =>
        omitEmpty({
          Subnet: config.subnet,
          IPRange: config.range,
          Gateway: config.gateway,
          AuxiliaryAddresses: filled(config.reserved),
        }),
      ),
    },
    Internal: spec?.internal ?? false,
    Attachable: spec?.attachable ?? false,
    Ingress: spec?.ingress ?? false,
    ConfigFrom: { Network: from },
    ConfigOnly: false,
    Containers: null,
    Options: filled(driverState?.options ?? {}) ?? null,
    Labels: filled(spec?.annotations?.labels ?? {}) ?? null,
    // Not in the API's answer: what the user asked for, before the swarm's allocator filled in the rest; and the version.
    Spec: networkSpec(spec),
    Version: version(of.meta?.version),
  };
}

export function networkSpec(of: Message<"NetworkSpec"> | undefined): Json {
  return {
    ...annotations(of?.annotations),
    ...omitEmpty({
      DriverConfiguration: driver(of?.driverConfig),
      IPv6Enabled: of?.ipv6Enabled,
      Internal: of?.internal,
      Attachable: of?.attachable,
      Ingress: of?.ingress,
      IPAMOptions: ipamOptions(of?.ipam),
      ConfigFrom: of?.configFrom.case === "network" ? { Network: of.configFrom.value } : undefined,
      Scope: "swarm",
    }),
  };
}

/** A network within a task. */
export function attachedNetwork(of: Message<"Network"> | undefined): Json {
  if (of === undefined) return {};
  return {
    ID: of.id,
    ...meta(of.meta),
    Spec: networkSpec(of.spec),
    DriverState: driver(of.driverState) ?? {},
    ...omitEmpty({ IPAMOptions: ipamOptions(of.ipam) }),
  };
}

function ipamOptions(of: Message<"IPAMOptions"> | undefined): Json | undefined {
  if (of === undefined) return undefined;
  return {
    Driver: driver(of.driver) ?? {},
    ...omitEmpty({
      Configs: of.configs.map((config) =>
        omitEmpty({ Subnet: config.subnet, Range: config.range, Gateway: config.gateway }),
      ),
    }),
  };
}
