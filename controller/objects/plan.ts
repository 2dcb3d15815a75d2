// What has to be done so that a swarm has the wanted objects: pure, from the selection and from what is there. It compares,
// so the same plan made after a crash goes on where the first was cut off, and made after the end has nothing to do.
//
// Secrets and configs never change in Docker. An update makes one of a new name, NAME-DIGEST, and points services to it.
// Docker shows nobody a secret's data: it is known to be the same by its id, by the mark of a restore that is under way, or by
// a name that such an update gave.
import { isDeepStrictEqual } from "node:util";
import { fieldChanges, type FieldChange } from "../../shared/raft/diff.ts";
import type { Json } from "../../shared/raft/engine-api/values.ts";
import type { CopiedFile, CopiedNetwork, CopiedService } from "./copied-objects.ts";
import { heldForm } from "../../shared/held-spec.ts";
import { overlap, withChosenAddresses, type NetworkBody } from "./network-body.ts";
import {
  comparable,
  referencesOf,
  renameReferences,
  type Port,
  type ReferredKind,
  type ServiceSpec,
} from "./portable.ts";
import type { PresentFile, PresentObjects, PresentService } from "./present-objects.ts";
import { keyOf, type Selection } from "./selection.ts";

export type Existing = "fail" | "skip" | "update";

export interface PlanOptions {
  /** What becomes of an object whose name is taken by another. */
  existing: Existing;
  /** Services are made held; one that is there held counts as made. */
  held: boolean;
}

interface Step {
  /** As it will be in the swarm. */
  name: string;
  /** For people. */
  why: string;
  changes: FieldChange[];
}

export interface NetworkStep extends Step {
  kind: "network";
  action: "create" | "keep";
  body: NetworkBody;
}

export interface FileStep extends Step {
  kind: "secret" | "config";
  action: "create" | "keep" | "relabel";
  /** With Data; Labels as they shall be in the end. */
  spec: Json;
  mark: string;
}

export interface ServiceStep extends Step {
  kind: "service";
  action: "create" | "keep" | "update";
  /** Portable, not held. */
  spec: ServiceSpec;
  registryAuth: string | null;
}

export type PlanStep = NetworkStep | FileStep | ServiceStep;

export interface Conflict {
  kind: "network" | "secret" | "config" | "service";
  name: string;
  what: string;
  hint: string;
}

export interface ObjectsPlan {
  /** In the order in which they are done. */
  steps: PlanStep[];
  /** While there is one, nothing is done. */
  conflicts: Conflict[];
  /** What is to be known, a sentence each. */
  notes: string[];
}

export function planObjects(selection: Selection, present: PresentObjects, options: PlanOptions): ObjectsPlan {
  const plan: ObjectsPlan = { steps: [], conflicts: [], notes: [...selection.unsupported] };
  // Those whose subnets are given come first, so that the swarm chooses none of these for another.
  const networks = [...selection.networks].sort((a, b) => Number(b.subnetsAsked) - Number(a.subnetsAsked));
  for (const network of networks) planNetwork(plan, network, present, options);
  const renames = new Map<string, string>();
  for (const kind of ["secret", "config"] as const) {
    for (const file of selection[`${kind}s`]) planFile(plan, kind, file, present, options, renames);
  }
  const rename = (kind: ReferredKind, name: string): string => renames.get(keyOf(kind, name)) ?? name;
  const services = selection.services.map((service) => ({ ...service, spec: renameReferences(service.spec, rename) }));
  for (const service of services) planService(plan, service, present, options);
  const planned = new Set(services.map(({ name }) => name));
  const others = present.services.filter(({ name }) => !planned.has(name));
  for (const service of services) planPorts(plan, service, others);
  planUsers(plan, selection, others, renames, rename);
  return plan;
}

function planNetwork(plan: ObjectsPlan, wanted: CopiedNetwork, present: PresentObjects, options: PlanOptions): void {
  const { name, body } = wanted;
  const there = present.networks.find((network) => network.name === name);
  if (there === undefined) {
    const taken = present.networks.filter((other) => sharesSubnet(body, other.body));
    if (taken.length > 0 && wanted.subnetsAsked) {
      const subnets = body.IPAM.Config.map(({ Subnet }) => Subnet ?? "").join(", ");
      plan.conflicts.push({
        kind: "network",
        name,
        what: `its subnet ${subnets} is in use by network ${taken.map((other) => other.name).join(", ")}`,
        hint: "--remap-subnet OLD=NEW gives it another",
      });
      return;
    }
    const free = taken.length === 0 ? body : { ...body, IPAM: { ...body.IPAM, Config: [] } };
    const why = taken.length === 0 ? subnetsOf(body) : "the swarm chooses a subnet: its former one is in use";
    plan.steps.push({ kind: "network", action: "create", name, why, changes: [], body: free });
    return;
  }
  // One that was given a free subnet is as it should be, whichever that is.
  const free = { ...body, IPAM: { ...body.IPAM, Config: [] } };
  const chosen = withChosenAddresses(wanted.subnetsAsked ? body : free, there.body);
  const changes = fieldChanges(comparable(there.body), comparable(chosen));
  if (changes.length === 0 || options.existing === "skip") {
    const why = changes.length === 0 ? "is there, and equal" : "is there, different, and left as it is";
    plan.steps.push({ kind: "network", action: "keep", name, why, changes, body: chosen });
  } else {
    plan.conflicts.push({
      kind: "network",
      name,
      what: `there is one with other ${changes.map(({ path }) => path).join(", ")}, and a network cannot be changed`,
      hint: "--existing skip takes it as it is; or remove it, if nobody uses it",
    });
  }
}

function subnetsOf(body: NetworkBody): string {
  const subnets = body.IPAM.Config.map(({ Subnet }) => Subnet ?? "");
  return subnets.length === 0 ? "is not there" : `is not there; with ${subnets.join(", ")}`;
}

function sharesSubnet(a: NetworkBody, b: NetworkBody): boolean {
  return a.IPAM.Config.some((one) => b.IPAM.Config.some((other) => overlap(one.Subnet ?? "", other.Subnet ?? "")));
}

function planFile(
  plan: ObjectsPlan,
  kind: "secret" | "config",
  wanted: CopiedFile,
  present: PresentObjects,
  { existing }: PlanOptions,
  renames: Map<string, string>,
): void {
  const { name, spec, mark } = wanted;
  const list = present[`${kind}s`];
  const there = list.find((file) => file.name === name);
  const step = { kind, name, spec, mark } as const;
  if (there === undefined) {
    plan.steps.push({ ...step, action: "create", why: "is not there", changes: [] });
    return;
  }
  const same = sameData(kind, wanted, there);
  const changes = fieldChanges(shownOf(there.spec), shownOf(spec));
  if (same === "equal" && changes.length === 0) {
    plan.steps.push({ ...step, action: "keep", why: "is there, and equal", changes });
  } else if (existing === "skip") {
    const why =
      same === "unknown"
        ? "is there, and left as it is; its data may be other"
        : "is there, different, and left as it is";
    plan.steps.push({ ...step, action: "keep", why, changes });
  } else if (existing === "fail") {
    plan.conflicts.push({ kind, name, what: differenceOf(kind, same, changes), hint: existingHint });
  } else if (same === "equal") {
    plan.steps.push({ ...step, action: "relabel", why: "is there with other labels", changes });
  } else {
    const next = nextName(name, mark);
    renames.set(keyOf(kind, name), next);
    const made = list.find((file) => file.name === next);
    const why =
      made === undefined
        ? `a ${kind} never changes: ${name} stays, and services are pointed to this one`
        : "was made from the copy before";
    const action = made === undefined ? "create" : "keep";
    plan.steps.push({ kind, name: next, spec: { ...spec, Name: next }, mark, action, why, changes: [] });
  }
}

const existingHint =
  "--existing skip leaves it, --existing update makes it as in the copy, --as NAME brings it back beside it";

/** Docker takes names up to 64 characters. */
function nextName(name: string, mark: string): string {
  return `${name.slice(0, 64 - 9)}-${mark.slice(0, 8)}`;
}

type Sameness = "equal" | "different" | "unknown";

function sameData(kind: "secret" | "config", wanted: CopiedFile, there: PresentFile): Sameness {
  if (there.id === wanted.id || there.mark === wanted.mark) return "equal";
  if (kind === "config") return (there.spec["Data"] ?? "") === (wanted.spec["Data"] ?? "") ? "equal" : "different";
  // A driver's secret has no data of its own: all that there is of it is shown.
  return wanted.spec["Driver"] === undefined ? "unknown" : "equal";
}

/** All that is shown of both. */
function shownOf(spec: Json): unknown {
  return comparable({ ...spec, Data: null });
}

function differenceOf(kind: string, same: Sameness, changes: readonly FieldChange[]): string {
  if (same === "unknown") return `there is one of that name, and Docker shows nobody a ${kind}'s data: it may be other`;
  if (same === "different") return "there is one of that name with other data";
  return `there is one with other ${changes.map(({ path }) => path).join(", ")}`;
}

function planService(plan: ObjectsPlan, wanted: CopiedService, present: PresentObjects, options: PlanOptions): void {
  const { name, spec, registryAuth } = wanted;
  const there = present.services.find((service) => service.name === name);
  const step = { kind: "service", name, spec, registryAuth } as const;
  if (there === undefined) {
    const why = wanted.wasHeld ? "is not there; Skep held it in the copy, which is undone" : "is not there";
    plan.steps.push({ ...step, action: "create", why, changes: [] });
    return;
  }
  const changes = fieldChanges(comparable(there.spec), comparable(spec));
  if (changes.length === 0) {
    plan.steps.push({ ...step, action: "keep", why: "is there, and equal", changes });
  } else if (options.held && isHeld(there, spec)) {
    plan.steps.push({ ...step, action: "keep", why: "is there, held", changes: [] });
  } else if (options.existing === "skip") {
    plan.steps.push({ ...step, action: "keep", why: "is there, different, and left as it is", changes });
  } else if (options.existing === "update") {
    plan.steps.push({ ...step, action: "update", why: "is there, different", changes });
  } else {
    const paths = changes.map(({ path }) => path).join(", ");
    plan.conflicts.push({ kind: "service", name, what: `there is one with other ${paths}`, hint: existingHint });
  }
}

export function isHeld(there: PresentService, spec: ServiceSpec): boolean {
  return isDeepStrictEqual(comparable(there.spec), comparable(heldForm(spec)));
}

/** A port that the swarm's nodes all listen on has one service; the swarm would refuse a second half-way. */
function planPorts(plan: ObjectsPlan, { name, spec }: CopiedService, others: readonly PresentService[]): void {
  for (const port of publishedPorts(spec)) {
    for (const other of others) {
      const clash = publishedPorts(other.spec).find(
        (taken) => taken.PublishedPort === port.PublishedPort && protocolOf(taken) === protocolOf(port),
      );
      if (clash === undefined) continue;
      const what = `its published port ${port.PublishedPort ?? 0}/${protocolOf(port)} is taken by service ${other.name}`;
      if (clash.PublishMode === "host" && port.PublishMode === "host") {
        plan.notes.push(`service ${name}: ${what}; both cannot be on one node`);
      } else {
        plan.conflicts.push({ kind: "service", name, what, hint: "--publish OLD=NEW publishes it elsewhere" });
      }
    }
  }
}

function publishedPorts(spec: ServiceSpec): Port[] {
  return (spec.EndpointSpec?.Ports ?? []).filter(({ PublishedPort = 0 }) => PublishedPort !== 0);
}

function protocolOf({ Protocol }: Port): string {
  return Protocol ?? "tcp";
}

/**
 * Living services that use what got a new name. Where just a secret or config was asked for, they are what the restore is
 * for; beside a service or stack they belong to somebody else and stay.
 */
function planUsers(
  plan: ObjectsPlan,
  selection: Selection,
  others: readonly PresentService[],
  renames: ReadonlyMap<string, string>,
  rename: (kind: ReferredKind, name: string) => string,
): void {
  const alone = selection.services.length === 0;
  for (const { name, spec } of others) {
    const used = referencesOf(spec).filter((reference) => renames.has(keyOf(reference.kind, reference.name)));
    if (used.length === 0) continue;
    if (!alone) {
      const what = used.map((reference) => `${reference.kind} ${reference.name}`).join(", ");
      plan.notes.push(`service ${name} goes on using ${what} as it is`);
      continue;
    }
    const next = renameReferences(spec, rename);
    const changes = fieldChanges(comparable(spec), comparable(next));
    const why = `is pointed to ${used.map((reference) => rename(reference.kind, reference.name)).join(", ")}`;
    plan.steps.push({ kind: "service", action: "update", name, why, changes, spec: next, registryAuth: null });
  }
}
