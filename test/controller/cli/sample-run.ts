// A run that shows everything that a run can have: parts of each kind and status, gaps, faults, warnings.
import type { Part } from "../../../shared/repository/run.ts";
import type { NewRun } from "../../../shared/repository/run-chain.ts";

const digest = "0".repeat(64);

export function samplePart(fields: Partial<Part> & Pick<Part, "kind" | "name">): Part {
  return {
    nodeId: "node1id",
    hostname: "node1",
    status: "done",
    startedAt: "2026-11-21T03:00:01.000Z",
    endedAt: "2026-11-21T03:00:13.000Z",
    attempt: 1,
    warnings: [],
    warningsLeftOut: 0,
    ...fields,
  };
}

export function sampleRun(id: string, fields: Partial<NewRun> = {}): NewRun {
  return {
    id,
    status: "partial",
    trigger: "schedule",
    schedule: "nightly",
    policyVersion: 3,
    startedAt: "2026-11-21T03:00:00.000Z",
    endedAt: "2026-11-21T03:03:04.000Z",
    skepVersion: "0.1.0",
    clusterId: "clusterid",
    nodes: [
      {
        id: "node1id",
        hostname: "node1",
        role: "manager",
        availability: "active",
        state: "ready",
        address: "10.0.0.1",
      },
    ],
    parts: [
      samplePart({
        kind: "raft",
        name: "raft",
        raft: {
          nodeId: "node1id",
          raftId: "1234",
          snapshotIndex: 10,
          firstIndex: 11,
          lastIndex: 42,
          commitIndex: 41,
          term: 2,
          markerIndex: 41,
          segments: 1,
          entries: 32,
          attempts: 1,
          usedBytes: 65536,
          locked: false,
          keyChangedDuringCopy: false,
          walked: true,
          decrypted: false,
        },
      }),
      samplePart({
        kind: "volume",
        name: "node1/www",
        totals: {
          files: 12,
          directories: 3,
          others: 0,
          sourceBytes: 5 * 1024 * 1024,
          newBytes: 1024 * 1024,
          storedBytes: 512 * 1024,
        },
        volume: { name: "www", driver: "local", options: {}, labels: {}, scope: "local" },
        manifest: { key: `manifests/${id}/a.age`, sizeBytes: 100, digest, versionId: null },
        refs: { key: `refs/${id}/a`, sizeBytes: 100, digest, versionId: null },
        consistency: "not-atomic",
        warnings: [{ code: "SKEP_SOURCE_FILE_CHANGED", message: "log/access.log changed while it was read" }],
        warningsLeftOut: 2,
      }),
      samplePart({
        kind: "volume",
        name: "node1/db",
        status: "failed",
        attempt: 3,
        error: {
          code: "SKEP_SOURCE_VOLUME_GONE",
          message: "volume db is gone",
          permanent: true,
          hint: "it was removed while the run went on",
        },
        stderr: "pg_dump: error: connection refused\n\u001b[31mred\u001b[0m\n",
      }),
    ],
    notCovered: [
      { kind: "node", name: "node3", hostname: "node3", reason: "node-down", message: "the node is down" },
      {
        kind: "volume",
        name: "node1/cache",
        hostname: "node1",
        reason: "not-selected",
        message: "the policy does not select it",
      },
    ],
    warnings: [{ code: "SKEP_STORE_DELETABLE", message: "agents' credentials could destroy backups" }],
    ...fields,
  };
}
