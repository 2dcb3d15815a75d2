// What plans of recoveries are made from in tests.
import type { MachineFacts } from "../../../controller/recovery/machine-facts.ts";
import type { OldService } from "../../../controller/recovery/swarm-view.ts";
import type { Part, Run } from "../../../shared/repository/run.ts";

export const stored = { key: "k", sizeBytes: 1, digest: "0".repeat(64), versionId: null };

export function volumePart(hostname: string, name: string, sourceBytes: number, more: Partial<Part> = {}): Part {
  return {
    kind: "volume",
    name: `${hostname}/${name}`,
    nodeId: `id${hostname}`,
    hostname,
    status: "done",
    startedAt: "2026-11-26T03:00:00.000Z",
    endedAt: "2026-11-26T03:00:00.000Z",
    attempt: 1,
    warnings: [],
    warningsLeftOut: 0,
    totals: { files: 1, directories: 0, others: 0, sourceBytes, newBytes: 0, storedBytes: 0 },
    manifest: stored,
    refs: stored,
    volume: { name, driver: "local", options: {}, labels: {}, scope: "local" },
    ...more,
  };
}

export function runOf(id: string, parts: Part[], notCovered: Run["notCovered"] = []): Run {
  return { id, startedAt: "2026-11-26T03:00:00.000Z", parts, notCovered } as unknown as Run;
}

export function facts(name: string, more: Partial<MachineFacts> = {}): MachineFacts {
  return {
    name,
    hostname: `host-${name}`,
    engineVersion: "26.1.5",
    architecture: "x86_64",
    swarmState: "inactive",
    clusterId: "",
    nodeId: "",
    isManager: false,
    dataRoot: "/var/lib/docker",
    freeBytes: 10 ** 12,
    volumes: [],
    drivers: [],
    images: [],
    clockOffsetMs: 0,
    listening: [22],
    listeningUdp: [],
    memoryBytes: 2 ** 33,
    cpus: 4,
    routes: ["192.0.2.0/24"],
    ...more,
  };
}

export function service(name: string, more: Partial<OldService> = {}): OldService {
  return {
    id: `id${name}`,
    name,
    own: false,
    mode: "replicated",
    replicas: 1,
    image: "",
    volumes: [],
    hasVolumes: false,
    hasPorts: false,
    constraints: [],
    ended: false,
    spec: { Name: name, TaskTemplate: {}, Mode: { Replicated: { Replicas: 1 } } },
    ...more,
  };
}

export const oldNode = (hostname: string, role = "manager") => ({
  id: `id${hostname}`,
  hostname,
  role,
  availability: "active",
  labels: { zone: hostname },
  engineVersion: "26.1.5",
  architecture: "x86_64",
});
