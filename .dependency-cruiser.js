// The arrows between the houses (docs/DESIGN.md, "The houses"). A new arrow is a diff here, and argued for.
/** @type {import("dependency-cruiser").IConfiguration} */
export default {
  forbidden: [
    { name: "no-circular", severity: "error", from: {}, to: { circular: true } },
    { name: "no-orphan-import", severity: "error", from: {}, to: { couldNotResolve: true } },
    {
      name: "shared-leans-on-nobody",
      severity: "error",
      from: { path: "^shared/" },
      to: { path: "^(agent|controller|deploy|test)/" },
    },
    {
      name: "agent-never-controller",
      severity: "error",
      from: { path: "^agent/" },
      to: { path: "^(controller|deploy|test)/" },
    },
    {
      name: "controller-never-agent",
      severity: "error",
      from: { path: "^controller/" },
      to: { path: "^(agent|test)/" },
    },
    {
      name: "the-daemon-never-opens-data",
      comment: "The controller's daemon holds no identity and must not reach the code that opens packs and manifests.",
      severity: "error",
      from: { path: "^controller/main\\.ts$" },
      to: { path: "^shared/repository/open/", reachable: true },
    },
    {
      name: "the-daemon-has-no-engine",
      comment: "The controller's daemon holds no Docker socket; only the operator's commands reach an engine.",
      severity: "error",
      from: { path: "^controller/main\\.ts$" },
      to: { path: "^controller/engine/", reachable: true },
    },
    {
      name: "the-backup-path-never-opens-data",
      comment: "What an agent runs for a backup must not reach the code that opens packs and manifests.",
      severity: "error",
      from: { path: "^agent/backup\\.ts$" },
      to: { path: "^shared/repository/open/", reachable: true },
    },
    ...[
      ["dockerode", "^(agent/docker|controller/engine/docker)\\.ts$"],
      ["ssh2", "^controller/recovery/ssh\\.ts$"],
      ["@aws-sdk/", "^shared/store/s3\\.ts$"],
      ["bullmq", "^(agent/worker|controller/queue(-children)?)\\.ts$"],
      ["prom-client", "^controller/api/metrics\\.ts$"],
      ["age-encryption", "^shared/repository/(age|passphrase|open/age)\\.ts$"],
      ["@napi-rs/blake-hash", "^shared/repository/blake3\\.ts$"],
      ["koffi", "^shared/foreign-library\\.ts$"],
      ["@bufbuild/protobuf", "^shared/raft/(wire|swarmkit/message-types)\\.ts$"],
      ["libsodium-wrappers", "^shared/raft/sealed-record\\.ts$"],
    ].map(([library, door]) => ({
      name: `one-door-${library.replace(/\W/g, "")}`,
      severity: "error",
      from: { path: "^(agent|controller|shared)/", pathNot: door },
      to: { path: `node_modules/${library}` },
    })),
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default", "types"] },
  },
};
