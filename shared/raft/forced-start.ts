// What lets a swarm directory start as a cluster of its one manager, with stock tools: `docker swarm init --force-new-cluster`.
// An autolocked directory can't be started so (the engine has no way to be given the key); with its key file in clear it can,
// and the engine locks it again with the same key. What the request does not say would be set to Docker's defaults: autolock
// off, a rotation of the CA begun, networks from another address pool.
// Source: moby daemon/cluster/swarm.go, swarmkit manager/controlapi/cluster.go.
import { isIP } from "node:net";
import { z } from "zod";
import { encodePrivateKey, openPrivateKey } from "./certificates.ts";
import { dataKeyHeader } from "./data-keys.ts";
import { encodeKeyFile, isLocked } from "./key-file.ts";
import type { SwarmState } from "./read-swarm.ts";
import { decodeMessage } from "./swarmkit/message-types.ts";

export interface ForcedStart {
  /** certificates/swarm-node.key, in clear. */
  keyFile: Uint8Array;
  /** The body of POST /swarm/init. */
  body: Record<string, unknown>;
}

const engineStateSchema = z.looseObject({ ListenAddr: z.string(), DataPathAddr: z.string() });

/** `IP:PORT` at which the other nodes know this manager; null where the state does not say. */
export function ownAddress({ member, membership, store }: SwarmState): { host: string; port: number } | null {
  const bytes = store.objects.node.get(member.nodeId);
  const status = bytes === undefined ? undefined : decodeMessage("Node", bytes).managerStatus;
  // The log's own head may name no address, of one that joined; the membership does.
  const said = [membership.members.get(member.raftId)?.addr, status?.addr];
  return said.map((text) => managerAddress(text ?? "")).find((address) => address !== null) ?? null;
}

const defaultPort = 2377;

/** Of `IP:PORT`, as members have it; null for what is no address, or for all of them. */
export function managerAddress(text: string): { host: string; port: number } | null {
  const [, host, port] = /^\[?([0-9a-fA-F.:]+?)\]?(?::(\d{1,5}))?$/.exec(text) ?? [];
  if (host === undefined || isIP(host) === 0 || /^(0\.0\.0\.0|::)$/.test(host)) return null;
  return { host, port: Number(port ?? defaultPort) };
}

/**
 * Null where the state names no address of its own manager. `engineState`: docker-state.json, as it lies in the directory;
 * null where there is none. Throws as openPrivateKey.
 */
export function forcedStart(
  state: SwarmState,
  unlockKey: Uint8Array | null,
  engineState: Uint8Array | null,
): ForcedStart | null {
  const address = ownAddress(state);
  if (address === null) return null;
  const { keys, keyFile } = state;
  const headers = new Map([
    // Below the version of every cluster object: of an autolocked swarm the engine then takes the key from there.
    ["kek-version", "0"],
    ["raft-dek", dataKeyHeader(keys.current, null)],
    ...(keys.pending === null ? [] : [["raft-dek-pending", dataKeyHeader(keys.pending, null)] as const]),
  ]);
  const privateKey = openPrivateKey(keyFile, isLocked(keyFile) ? unlockKey : null);
  return {
    keyFile: encodeKeyFile({ blockType: "PRIVATE KEY", headers, der: encodePrivateKey(privateKey) }),
    body: forceBody(state, address, decodeEngineState(engineState)),
  };
}

function decodeEngineState(bytes: Uint8Array | null): z.infer<typeof engineStateSchema> {
  let value: unknown;
  try {
    value = bytes === null ? undefined : JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    value = undefined;
  }
  return engineStateSchema.safeParse(value).data ?? { ListenAddr: "", DataPathAddr: "" };
}

function forceBody(
  { store, clusterId }: SwarmState,
  { host, port }: { host: string; port: number },
  engine: z.infer<typeof engineStateSchema>,
): Record<string, unknown> {
  const cluster = decodeMessage("Cluster", store.objects.cluster.get(clusterId) ?? new Uint8Array(0));
  const anywhere = `${isIP(host) === 6 ? "[::]" : "0.0.0.0"}:${port}`;
  return {
    ListenAddr: engine.ListenAddr === "" ? anywhere : engine.ListenAddr,
    AdvertiseAddr: isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`,
    ...(engine.DataPathAddr !== "" && { DataPathAddr: engine.DataPathAddr }),
    ForceNewCluster: true,
    DefaultAddrPool: cluster.defaultAddressPool,
    SubnetSize: cluster.subnetSize,
    DataPathPort: cluster.vxlanudpport,
    Spec: {
      // Another number would begin a rotation of the CA.
      CAConfig: { ForceRotate: Number(cluster.spec?.caConfig?.forceRotate ?? 0n) },
      EncryptionConfig: { AutoLockManagers: cluster.spec?.encryptionConfig?.autoLockManagers === true },
    },
  };
}
