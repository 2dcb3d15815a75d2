// The plan of a rebuild: a fresh swarm becomes as the copied one was. Pure. What is there already is not done again, so the
// plan of a rebuild that was cut off has just the rest.
import { node as nodeJson } from "../../../shared/raft/engine-api/node.ts";
import type { FieldChange } from "../../../shared/raft/diff.ts";
import type { SwarmState } from "../../../shared/raft/read-swarm.ts";
import { decodeMessage } from "../../../shared/raft/swarmkit/message-types.ts";
import type { UndoneHold } from "../../../shared/raft/undo-holds.ts";
import type { EngineNode, EngineSwarm } from "../../engine/engine.ts";
import { copiedObjects, type CopiedObjects } from "../../objects/copied-objects.ts";
import { isJob } from "../../objects/held.ts";
import { planObjects, type Conflict, type ObjectsPlan, type ServiceStep } from "../../objects/plan.ts";
import type { PresentObjects } from "../../objects/present-objects.ts";
import { withNodes, withSubnets, type NodeMapping } from "../../objects/renaming.ts";
import { selectAll } from "../../objects/selection.ts";
import { z } from "zod";
import { mergedNode } from "../merged-node.ts";
import { copiedSettings, settingsChange, type SettingsChange, type SwarmSettings } from "./settings.ts";
import { releaseWaves, type Released } from "./waves.ts";

export interface CopiedNode {
  id: string;
  hostname: string;
  labels: Record<string, string>;
  /** active, pause, drain. */
  availability: string;
}

export interface CopiedSwarm {
  settings: SwarmSettings | null;
  nodes: CopiedNode[];
  objects: CopiedObjects;
}

/** `undone`: services that Skep held in the copy, and that are in `state` as they were before. */
export function copiedSwarm(state: SwarmState, undone: readonly Pick<UndoneHold, "serviceId">[]): CopiedSwarm {
  const shape = z.object({
    ID: z.string(),
    Spec: z.object({ Labels: z.record(z.string(), z.string()), Availability: z.string().default("active") }),
    Description: z.object({ Hostname: z.string().default("") }),
  });
  const nodes = [...state.store.objects.node.values()].map((bytes) => {
    const { ID, Spec, Description } = shape.parse(nodeJson(decodeMessage("Node", bytes)));
    return { id: ID, hostname: Description.Hostname, labels: Spec.Labels, availability: Spec.Availability };
  });
  const objects = copiedObjects(state);
  const wereHeld = new Set(undone.map(({ serviceId }) => serviceId));
  const services = objects.services.map((service) => ({
    ...service,
    wasHeld: service.wasHeld || wereHeld.has(service.id),
  }));
  return { settings: copiedSettings(state), nodes, objects: { ...objects, services } };
}

export interface RebuildOptions {
  /** Ids of the new swarm's nodes by those of the copy; a node that is gone is not in it. */
  nodes: ReadonlyMap<string, string>;
  subnets: ReadonlyMap<string, string>;
  /** Jobs are released too, and so run again. */
  runJobs: boolean;
}

export interface PresentSwarm {
  swarm: EngineSwarm;
  nodes: EngineNode[];
  objects: PresentObjects;
}

export interface NodeChange {
  /** In the new swarm. */
  id: string;
  hostname: string;
  labels: Record<string, string>;
  availability: string;
}

export interface RebuildPlan {
  settings: SettingsChange;
  nodes: NodeChange[];
  /** The present ingress network gives way to the copy's; null where they are the same. */
  ingress: { remove: string } | null;
  objects: ObjectsPlan;
  /** Services that are released, by wave; names. */
  waves: string[][];
  /** Jobs that stay held. */
  heldJobs: string[];
  /** What is not as in the copy, and shall not be: a sentence each. */
  mappings: string[];
  conflicts: Conflict[];
  notes: string[];
}

export function planRebuild(copied: CopiedSwarm, present: PresentSwarm, options: RebuildOptions): RebuildPlan {
  const mapping = nodeMapping(copied.nodes, present.nodes, options.nodes);
  const wanted = withSubnets(withNodes(selectAll(copied.objects), mapping), options.subnets);
  const ingress = ingressChange(wanted.networks, present.objects);
  const there = ingress === null ? present.objects : withoutNetwork(present.objects, ingress.remove);
  const objects = planObjects(wanted, there, { existing: "fail", held: true });
  const services = objects.steps.filter((step): step is ServiceStep => step.kind === "service");
  const jobs = services.filter(({ spec }) => isJob(spec)).map(({ name }) => name);
  const heldJobs = options.runJobs ? [] : jobs;
  const released = services.filter(({ name }) => !heldJobs.includes(name));
  return {
    settings:
      copied.settings === null
        ? { spec: null, changes: [], notes: ["the copy has no settings of the swarm"] }
        : settingsChange(copied.settings, present.swarm),
    nodes: nodeChanges(copied.nodes, present.nodes, options.nodes, constraintsOf(services)),
    ingress,
    objects,
    waves: releaseWaves(released, isOfSkep(services)).map((wave) => wave.map(({ name }) => name)),
    heldJobs,
    mappings: mappingsOf(copied, mapping, options, heldJobs),
    conflicts: [...objects.conflicts, ...strangers(services, there)],
    notes: [...objects.notes, ...unmetConstraints(services, copied.nodes, mapping)],
  };
}

function nodeMapping(
  copied: readonly CopiedNode[],
  present: readonly EngineNode[],
  nodes: ReadonlyMap<string, string>,
): NodeMapping {
  const hostnames = new Map(present.map(({ ID, Description }) => [ID, Description?.Hostname ?? ""]));
  const pairs = copied.flatMap(({ id, hostname }): [string, string][] => {
    const to = hostnames.get(nodes.get(id) ?? "");
    return to === undefined ? [] : [[hostname, to]];
  });
  return { ids: nodes, hostnames: new Map(pairs) };
}

function nodeChanges(
  copied: readonly CopiedNode[],
  present: readonly EngineNode[],
  nodes: ReadonlyMap<string, string>,
  constraints: readonly string[],
): NodeChange[] {
  return present.flatMap((there) => {
    const former = copied.filter(({ id }) => nodes.get(id) === there.ID);
    if (former.length === 0) return [];
    const { labels, availability } = mergedNode(former, constraints);
    const { Labels, Availability } = there.Spec;
    const wantedLabels = { ...Labels, ...labels };
    const same = Object.entries(wantedLabels).every(([key, value]) => Labels?.[key] === value);
    if (same && Availability === availability) return [];
    return [{ id: there.ID, hostname: there.Description?.Hostname ?? "", labels: wantedLabels, availability }];
  });
}

function constraintsOf(services: readonly ServiceStep[]): string[] {
  return services.flatMap(({ spec }) => spec.TaskTemplate.Placement?.Constraints ?? []);
}

function ingressChange(wanted: CopiedObjects["networks"], present: PresentObjects): { remove: string } | null {
  const next = wanted.find(({ body }) => body.Ingress);
  const now = present.networks.find(({ body }) => body.Ingress);
  if (next === undefined || now === undefined) return null;
  return JSON.stringify(sorted(next.body)) === JSON.stringify(sorted(now.body)) ? null : { remove: now.id };
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, field]) => [key, sorted(field)]));
}

function withoutNetwork(present: PresentObjects, id: string): PresentObjects {
  return { ...present, networks: present.networks.filter((network) => network.id !== id) };
}

/** A service that the copy does not have says that this swarm is in use. */
function strangers(services: readonly ServiceStep[], present: PresentObjects): Conflict[] {
  const wanted = new Set(services.map(({ name }) => name));
  return present.services
    .filter(({ name }) => !wanted.has(name))
    .map(({ name }) => ({
      kind: "service",
      name,
      what: "is in the swarm and not in the copy: a rebuild fills a fresh swarm",
      hint: "into a swarm that lives, `skep restore stack` brings one stack at a time",
    }));
}

/** Skep's own stack comes last: it shall back up what is there again. It is known by what its services are told. */
export function isOfSkep(services: readonly Released[]): (service: Released) => boolean {
  const said = z.looseObject({ Env: z.array(z.string()).nullish() });
  const isSkep = ({ spec }: Released): boolean =>
    (said.safeParse(spec.TaskTemplate.ContainerSpec ?? {}).data?.Env ?? []).some((one) =>
      one.startsWith("SKEP_CONFIG_FILE="),
    );
  const stackOf = ({ spec }: Released): string | undefined => spec.Labels?.["com.docker.stack.namespace"];
  const stacks = new Set(services.filter(isSkep).map(stackOf));
  return (service) => isSkep(service) || (stackOf(service) !== undefined && stacks.has(stackOf(service)));
}

function mappingsOf(copied: CopiedSwarm, mapping: NodeMapping, options: RebuildOptions, heldJobs: string[]): string[] {
  const lines = copied.nodes.map(({ id, hostname }) => {
    const to = mapping.ids.get(id);
    return to === undefined
      ? `node ${hostname} (${id}) is gone`
      : `node ${hostname} (${id}) is ${mapping.hostnames.get(hostname) ?? ""} (${to}) now, in placement constraints too`;
  });
  for (const [from, to] of options.subnets) lines.push(`subnet ${from} is ${to} now`);
  for (const name of heldJobs)
    lines.push(`job ${name} stays held, so that it does not run again; --run-jobs releases it`);
  for (const { name, wasHeld } of copied.objects.services) {
    if (wasHeld) lines.push(`service ${name} was held by Skep in the copy, and is as before that`);
  }
  return lines;
}

function unmetConstraints(
  services: readonly ServiceStep[],
  nodes: readonly CopiedNode[],
  mapping: NodeMapping,
): string[] {
  const gone = nodes.filter(({ id }) => !mapping.ids.has(id));
  return services.flatMap(({ name, spec }) =>
    (spec.TaskTemplate.Placement?.Constraints ?? [])
      .filter((constraint) => gone.some(({ id, hostname }) => isOnNode(constraint, id, hostname)))
      .map((constraint) => `service ${name} is bound to a node that is gone (${constraint}): no task of it will start`),
  );
}

function isOnNode(constraint: string, id: string, hostname: string): boolean {
  const [, key = "", value = ""] = /^\s*(node\.id|node\.hostname)\s*==\s*(.*?)\s*$/i.exec(constraint) ?? [];
  if (key === "") return false;
  return value.toLowerCase() === (key.toLowerCase() === "node.id" ? id : hostname).toLowerCase();
}

/** For people: `Labels.x`. */
export function pathsOf(changes: readonly FieldChange[]): string {
  return changes.map(({ path }) => path).join(", ");
}
