// The cluster object, secrets and configs. Source: moby daemon/cluster/convert/{swarm,secret,config}.go,
// api/types/swarm/{swarm,secret,config}.go.
import { enumName, type Message } from "../swarmkit/message-types.ts";
import { encodeUnlockKey } from "../unlock-key.ts";
import { annotations, base64, driver, filled, integer, meta, nanoseconds, omitEmpty, type Json } from "./values.ts";

/** As GET /swarm, without join tokens. With `reveal` also those, the CA's key, the unlock key and the gossip keys. */
export function cluster(of: Message<"Cluster">, reveal: boolean): Json {
  return {
    ID: of.id,
    ...meta(of.meta),
    Spec: clusterSpec(of.spec, reveal),
    TLSInfo: { TrustRoot: Buffer.from(of.rootCa?.caCert ?? []).toString() },
    RootRotationInProgress: of.rootCa?.rootRotation !== undefined,
    DataPathPort: of.vxlanudpport,
    DefaultAddrPool: of.defaultAddressPool,
    SubnetSize: of.subnetSize,
    FIPS: of.fips,
    ...(reveal ? clusterSecrets(of) : {}),
  };
}

function clusterSecrets(of: Message<"Cluster">): Json {
  const unlock = of.unlockKeys.find(({ subsystem }) => subsystem === "swarm-manager");
  return {
    JoinTokens: { Worker: of.rootCa?.joinTokens?.worker ?? "", Manager: of.rootCa?.joinTokens?.manager ?? "" },
    RootCAKey: Buffer.from(of.rootCa?.caKey ?? []).toString(),
    UnlockKey: unlock === undefined ? "" : encodeUnlockKey(unlock.key),
    NetworkKeys: of.networkBootstrapKeys.map((key) => ({
      Subsystem: key.subsystem,
      Algorithm: enumName("EncryptionKey.Algorithm", key.algorithm),
      Key: base64(key.key),
      LamportTime: integer(key.lamportTime),
    })),
  };
}

function clusterSpec(of: Message<"ClusterSpec"> | undefined, reveal: boolean): Json {
  const { raft, caConfig } = of ?? {};
  return {
    ...annotations(of?.annotations),
    Orchestration: { TaskHistoryRetentionLimit: integer(of?.orchestration?.taskHistoryRetentionLimit ?? 0n) },
    Raft: {
      ...omitEmpty({
        SnapshotInterval: integer(raft?.snapshotInterval ?? 0n),
        KeepOldSnapshots: integer(raft?.keepOldSnapshots ?? 0n),
        LogEntriesForSlowFollowers: integer(raft?.logEntriesForSlowFollowers ?? 0n),
      }),
      KeepOldSnapshots: integer(raft?.keepOldSnapshots ?? 0n),
      ElectionTick: raft?.electionTick ?? 0,
      HeartbeatTick: raft?.heartbeatTick ?? 0,
    },
    Dispatcher: omitEmpty({ HeartbeatPeriod: nanoseconds(of?.dispatcher?.heartbeatPeriod) }),
    CAConfig: omitEmpty({
      NodeCertExpiry: nanoseconds(caConfig?.nodeCertExpiry),
      ExternalCAs: caConfig?.externalCas.map((ca) =>
        omitEmpty({
          Protocol: enumName("ExternalCA.CAProtocol", ca.protocol),
          URL: ca.url,
          Options: filled(ca.options),
          CACert: Buffer.from(ca.caCert).toString(),
        }),
      ),
      SigningCACert: Buffer.from(caConfig?.signingCaCert ?? []).toString(),
      SigningCAKey: reveal ? Buffer.from(caConfig?.signingCaKey ?? []).toString() : undefined,
      ForceRotate: integer(caConfig?.forceRotate ?? 0n),
    }),
    TaskDefaults: omitEmpty({ LogDriver: driver(of?.taskDefaults?.logDriver) }),
    EncryptionConfig: { AutoLockManagers: of?.encryptionConfig?.autoLockManagers ?? false },
  };
}

/** As GET /secrets, which never shows Data; with `reveal` it is there. */
export function secret(of: Message<"Secret">, reveal: boolean): Json {
  return {
    ID: of.id,
    ...meta(of.meta),
    Spec: {
      ...annotations(of.spec?.annotations),
      ...omitEmpty({
        Data: reveal ? base64(of.spec?.data ?? new Uint8Array()) : undefined,
        Driver: driver(of.spec?.driver),
        Templating: driver(of.spec?.templating),
      }),
    },
  };
}

export function config(of: Message<"Config">): Json {
  return {
    ID: of.id,
    ...meta(of.meta),
    Spec: {
      ...annotations(of.spec?.annotations),
      ...omitEmpty({ Data: base64(of.spec?.data ?? new Uint8Array()), Templating: driver(of.spec?.templating) }),
    },
  };
}
