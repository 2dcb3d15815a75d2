// What plans of recoveries are made from in tests.
import { decodeInventory } from "../../../controller/recovery/inventory.ts";
import type { MachineFacts } from "../../../controller/recovery/machine-facts.ts";
import { planRecovery } from "../../../controller/recovery/plan.ts";
import type { PlanInput, RecoveryPlan } from "../../../controller/recovery/recovery-plan.ts";
import { volumeSources } from "../../../controller/recovery/volume-sources.ts";
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
    kit: { freeBytes: 10 ** 12, isDataRoots: true },
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

export function planOf(
  change: { inventory?: string; facts?: MachineFacts[]; input?: Partial<PlanInput> } = {},
): RecoveryPlan {
  const text =
    change.inventory ??
    `version: 1
machines:
  m1: { address: 192.0.2.11, role: manager }
  m2: { address: 192.0.2.12, role: worker }
nodes: { a: m1, b: m2 }
`;
  const all = change.facts ?? [facts("m1"), facts("m2")];
  return planRecovery({
    run: { id: "r1", startedAt: "2026-11-26T03:00:00.000Z" },
    copiedNodeId: "ida",
    view: {
      clusterId: "cluster",
      nodes: [oldNode("a"), oldNode("b", "worker")],
      services: [],
      networks: [],
      dataPathPort: 4789,
    },
    volumes: volumeSources(runOf("r1", [volumePart("a", "data", 1000), volumePart("b", "data", 2000)]), []),
    inventory: decodeInventory(text, "inventory.yml").inventory,
    facts: new Map(all.map((one) => [one.name, one])),
    mode: "raft",
    survivor: null,
    runJobs: false,
    begun: false,
    subnets: new Map(),
    ...change.input,
  });
}

export const codes = (plan: RecoveryPlan, severity = "error"): string[] =>
  plan.findings.filter((finding) => finding.severity === severity).map(({ code }) => code);
