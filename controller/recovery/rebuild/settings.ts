// The swarm's own settings: of a copy, as they were; for a fresh swarm, as it is to be made or changed. The CA's keys and the
// tokens are the fresh swarm's own.
import { cluster as clusterJson } from "../../../shared/raft/engine-api/cluster.ts";
import { fieldChanges, type FieldChange } from "../../../shared/raft/diff.ts";
import type { Json } from "../../../shared/raft/engine-api/values.ts";
import type { SwarmState } from "../../../shared/raft/read-swarm.ts";
import { decodeMessage } from "../../../shared/raft/swarmkit/message-types.ts";
import type { EngineSwarm } from "../../engine/engine.ts";
import { comparable } from "../../objects/portable.ts";

export interface SwarmSettings {
  /** As GET /swarm shows it. */
  spec: Json;
  /** These can only be said when a swarm is made. */
  addressPool: string[];
  subnetSize: number;
  dataPathPort: number;
}

/** What Docker takes where nothing is said. Source: moby daemon/cluster, swarmkit ipamutils. */
const defaults = { addressPool: ["10.0.0.0/8"], subnetSize: 24, dataPathPort: 4789 };

/** Null where the copy has no cluster object, as no whole copy has. */
export function copiedSettings(state: SwarmState): SwarmSettings | null {
  const [bytes] = state.store.objects.cluster.values();
  if (bytes === undefined) return null;
  const message = decodeMessage("Cluster", bytes);
  return {
    spec: clusterJson(message, false)["Spec"] as Json,
    addressPool: message.defaultAddressPool.length === 0 ? defaults.addressPool : message.defaultAddressPool,
    subnetSize: message.subnetSize === 0 ? defaults.subnetSize : message.subnetSize,
    dataPathPort: message.vxlanudpport === 0 ? defaults.dataPathPort : message.vxlanudpport,
  };
}

/** IP addresses of the first manager. */
export interface SwarmAddresses {
  advertise: string;
  /** For overlay traffic, where it is another; else null. */
  dataPath: string | null;
}

/** What a swarm carries from its making until it is filled, so that whoever made it knows it again: whose it is. */
export const rebuildLabel = "io.skep.recovery";

/** Docker's port between managers, on all addresses of the advertised one's family. */
export function listenAddress(advertise: string): string {
  return advertise.includes(":") ? "[::]:2377" : "0.0.0.0:2377";
}

/** The body of POST /swarm/init with which a fresh engine makes a swarm of these settings. */
export function initBody(settings: SwarmSettings, { advertise, dataPath }: SwarmAddresses, mark: string | null): Json {
  const { spec, addressPool, subnetSize, dataPathPort } = settings;
  return {
    ListenAddr: listenAddress(advertise),
    AdvertiseAddr: advertise,
    ...(dataPath !== null && { DataPathAddr: dataPath }),
    DefaultAddrPool: addressPool,
    SubnetSize: subnetSize,
    DataPathPort: dataPathPort,
    AutoLockManagers: (spec["EncryptionConfig"] as Json | undefined)?.["AutoLockManagers"] === true,
    Spec: mark === null ? spec : { ...spec, Labels: { ...(spec["Labels"] as Json | undefined), [rebuildLabel]: mark } },
  };
}

export interface SettingsChange {
  /** What POST /swarm/update takes; null where nothing is to change. */
  spec: Json | null;
  changes: FieldChange[];
  /** What a swarm that is there cannot become any more, a sentence each. */
  notes: string[];
}

export function settingsChange(wanted: SwarmSettings, present: EngineSwarm): SettingsChange {
  const notes: string[] = [];
  const compareFixed = (what: string, of: unknown, is: unknown): void => {
    if (JSON.stringify(of) !== JSON.stringify(is)) {
      notes.push(
        `the swarm's ${what} is ${JSON.stringify(is)}, and was ${JSON.stringify(of)}: only a swarm made anew can have that`,
      );
    }
  };
  const { DefaultAddrPool: pool, SubnetSize: size, DataPathPort: port } = present;
  compareFixed("address pool", wanted.addressPool, pool == null || pool.length === 0 ? defaults.addressPool : pool);
  compareFixed("subnet size", wanted.subnetSize, size === undefined || size === 0 ? defaults.subnetSize : size);
  compareFixed("data path port", wanted.dataPathPort, port === undefined || port === 0 ? defaults.dataPathPort : port);

  const spec = settled(wanted.spec, present.Spec);
  const changes = fieldChanges(comparable(present.Spec), comparable(spec));
  return { spec: changes.length === 0 ? null : spec, changes, notes };
}

/** The count of CA rotations and the ticks, which only a start reads, are the present swarm's. */
function settled(wanted: Json, present: Json): Json {
  const part = (of: Json, key: string): Json => (of[key] ?? {}) as Json;
  const { ForceRotate } = part(present, "CAConfig");
  const { ElectionTick, HeartbeatTick } = part(present, "Raft");
  return {
    ...wanted,
    CAConfig: {
      ...part(wanted, "CAConfig"),
      ...(ForceRotate === undefined ? { ForceRotate: undefined } : { ForceRotate }),
    },
    Raft: { ...part(wanted, "Raft"), ElectionTick, HeartbeatTick },
  };
}
