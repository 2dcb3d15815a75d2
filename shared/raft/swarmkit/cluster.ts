// Cluster, networks, secrets and configs, as moby/swarmkit stores them.
// Source: moby/swarmkit api/*.proto, the union of Docker 20.10 to 29; fields were only ever added.
// How to read the tables: message-types.ts.

export const clusterMessages = {
  ClusterSpec: {
    annotations: [1, "Annotations"],
    acceptancePolicy: [2, "AcceptancePolicy"],
    orchestration: [3, "OrchestrationConfig"],
    raft: [4, "RaftConfig"],
    dispatcher: [5, "DispatcherConfig"],
    caConfig: [6, "CAConfig"],
    taskDefaults: [7, "TaskDefaults"],
    encryptionConfig: [8, "EncryptionConfig"],
  },
  AcceptancePolicy: { policies: [1, "AcceptancePolicy.RoleAdmissionPolicy[]"] },
  "AcceptancePolicy.RoleAdmissionPolicy": {
    role: [1, "NodeRole"],
    autoaccept: [2, "bool"],
    secret: [3, "AcceptancePolicy.RoleAdmissionPolicy.Secret"],
  },
  "AcceptancePolicy.RoleAdmissionPolicy.Secret": { data: [1, "bytes"], alg: [2, "string"] },
  OrchestrationConfig: { taskHistoryRetentionLimit: [1, "int64"] },
  RaftConfig: {
    snapshotInterval: [1, "uint64"],
    keepOldSnapshots: [2, "uint64"],
    logEntriesForSlowFollowers: [3, "uint64"],
    heartbeatTick: [4, "uint32"],
    electionTick: [5, "uint32"],
  },
  DispatcherConfig: { heartbeatPeriod: [1, "Duration"] },
  CAConfig: {
    nodeCertExpiry: [1, "Duration"],
    externalCas: [2, "ExternalCA[]"],
    signingCaCert: [3, "bytes"],
    signingCaKey: [4, "bytes"],
    forceRotate: [5, "uint64"],
  },
  ExternalCA: {
    protocol: [1, "ExternalCA.CAProtocol"],
    url: [2, "string"],
    options: [3, "map<string,string>"],
    caCert: [4, "bytes"],
  },
  TaskDefaults: { logDriver: [1, "Driver"] },
  EncryptionConfig: { autoLockManagers: [1, "bool"] },
  RootCA: {
    caKey: [1, "bytes"],
    caCert: [2, "bytes"],
    caCertHash: [3, "string"],
    joinTokens: [4, "JoinTokens"],
    rootRotation: [5, "RootRotation"],
    lastForcedRotation: [6, "uint64"],
  },
  RootRotation: { caCert: [1, "bytes"], caKey: [2, "bytes"], crossSignedCaCert: [3, "bytes"] },
  JoinTokens: { worker: [1, "string"], manager: [2, "string"] },
  EncryptionKey: {
    subsystem: [1, "string"],
    algorithm: [2, "EncryptionKey.Algorithm"],
    key: [3, "bytes"],
    lamportTime: [4, "uint64"],
  },
  BlacklistedCertificate: { expiry: [1, "Timestamp"] },
  SecretSpec: { annotations: [1, "Annotations"], data: [2, "bytes"], templating: [3, "Driver"], driver: [4, "Driver"] },
  ConfigSpec: { annotations: [1, "Annotations"], data: [2, "bytes"], templating: [3, "Driver"] },
  NetworkSpec: {
    annotations: [1, "Annotations"],
    driverConfig: [2, "Driver"],
    ipv6Enabled: [3, "bool"],
    internal: [4, "bool"],
    ipam: [5, "IPAMOptions"],
    attachable: [6, "bool"],
    ingress: [7, "bool"],
    network: [8, "string", "configFrom"],
  },
  IPAMOptions: { driver: [1, "Driver"], configs: [3, "IPAMConfig[]"] },
  IPAMConfig: {
    family: [1, "IPAMConfig.AddressFamily"],
    subnet: [2, "string"],
    range: [3, "string"],
    gateway: [4, "string"],
    reserved: [5, "map<string,string>"],
  },
  NetworkAttachment: {
    network: [1, "Network"],
    addresses: [2, "string[]"],
    aliases: [3, "string[]"],
    driverAttachmentOpts: [4, "map<string,string>"],
  },
} as const;

export const clusterEnums = {
  "ExternalCA.CAProtocol": { 0: "CFSSL" },
  "EncryptionKey.Algorithm": { 0: "AES_128_GCM" },
  "IPAMConfig.AddressFamily": { 0: "UNKNOWN", 4: "IPV4", 6: "IPV6" },
} as const;
