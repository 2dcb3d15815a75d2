// Documents that have every field, so that each of them is changed.
const digest = "ab".repeat(32);
const time = "2026-11-21T03:00:00.000Z";

const storedObject = (key: string) => ({ key, sizeBytes: 500, digest, versionId: "v1" });

export function samplePart(runId: string): object {
  return {
    ...{ kind: "volume", name: "host1/data", nodeId: "node1", hostname: "host1", status: "partial", attempt: 1 },
    ...{ startedAt: time, endedAt: time, warnings: [{ code: "SKEP_X", message: "why" }], warningsLeftOut: 0, epoch: 1 },
    error: { code: "SKEP_RAFT_TORN", message: "why", permanent: false, hint: "now" },
    totals: { files: 1, directories: 1, others: 0, sourceBytes: 5, newBytes: 5, storedBytes: 9 },
    manifest: storedObject(`manifests/${runId}/${"ef".repeat(16)}.age`),
    refs: storedObject(`refs/${runId}/${"cd".repeat(16)}`),
    volume: { name: "data", driver: "local", options: {}, labels: {}, scope: "local" },
    consistency: "quiet",
    quiet: [{ name: "db", how: "stop", quietMs: 9 }],
    commands: [{ step: "dump", container: "db", exitCode: 0, stderr: "" }],
    load: { argv: ["psql"], container: null, user: null, timeoutSeconds: 60 },
  };
}

export function sampleRunObject(repositoryId: string, runId: string): object {
  return {
    ...{ format: 1, id: runId, repositoryId, incarnation: 1, sequence: 7, previousDigest: digest, upkeepSequence: 3 },
    ...{
      status: "partial",
      trigger: "schedule",
      schedule: "nightly",
      policyVersion: 2,
      startedAt: time,
      endedAt: time,
    },
    ...{ skepVersion: "0.1.0", clusterId: "cluster1", warnings: [] },
    nodes: [
      { id: "node1", hostname: "host1", role: "manager", availability: "active", state: "ready", address: "10.0.0.1" },
    ],
    parts: [samplePart(runId)],
    notCovered: [{ kind: "volume", name: "host2/x", hostname: "host2", reason: "node-down", message: "host2 is down" }],
  };
}

export function sampleUpkeep(repositoryId: string, runId: string): object {
  const from = `refs/${runId}/${"cd".repeat(16)}`;
  return {
    ...{ format: 1, repositoryId, incarnation: 1, sequence: 7, previousDigest: digest, writtenAt: time },
    skepVersion: "0.1.0",
    forgotten: [{ first: 1, last: 2, digest, previousDigest: null }],
    forgottenRuns: [{ id: runId, sequence: 2, forgottenAt: time }],
    fencedBefore: "20261120-030000",
    retired: [{ writerId: "node1", since: time, packs: [digest] }],
    doomed: [{ writerId: "", since: time, packs: ["cd".repeat(32)] }],
    movedRefs: [{ from, to: storedObject(from), since: time }],
  };
}

export function sampleProtection(runId: string): object {
  const runs = [{ id: runId, refs: digest, until: time, fault: null }];
  return { format: 1, writtenAt: time, lockDays: 30, fault: null, runs };
}
