// At the end, every object of the copy is compared with what the new swarm's API says: equal, equal but for what the plan
// maps, different, missing. Nothing is called restored that was not looked at. Left out are Skep's own records of holds and
// restores, which are closed and removed as time goes by.
import { z } from "zod";
import { openHolds } from "../../shared/raft/undo-holds.ts";
import { networkFields } from "../objects/network-fields.ts";
import { isOwnRecord } from "../objects/own-records.ts";
import type { StepResult } from "./journal.ts";
import { stepIds } from "./plan-steps.ts";
import { mappedSpec, renamingOf, sameSpec } from "./release-steps.ts";
import { firstMachine, machineOf, type RecoveryTools } from "./recovery-tools.ts";
import type { RemoteMachine } from "./remote-machine.ts";
import type { StepContext } from "./steps.ts";
import { nodeIdsOf } from "./swarm-steps.ts";

export interface ComparedObject {
  kind: "node" | "service" | "network" | "secret" | "config" | "cluster" | "volume";
  name: string;
  state: "equal" | "mapped" | "held" | "different" | "missing";
  /** Fields that differ, or why it is mapped or held. */
  detail: string;
}

const anyObject = z.looseObject({ ID: z.string().optional(), Id: z.string().optional() });
type AnyObject = z.infer<typeof anyObject>;

export async function compareSwarm(tools: RecoveryTools, context: StepContext): Promise<StepResult> {
  const { signal } = context;
  const manager = machineOf(tools, firstMachine(tools).name);
  const compared: ComparedObject[] = [
    ...(await compareServices(tools, manager, context)),
    ...(await compareNodes(tools, manager, context)),
  ];
  for (const kind of ["secret", "config", "network"] as const) {
    const listed = await list(manager, `/${kind}s`, signal);
    for (const { id, name } of tools.source.swarm.list(kind)) {
      const old = asJson(tools.source.swarm.get(kind, id, false));
      if (kind === "network" && ["bridge", "host", "null"].includes(String(old["Driver"]))) continue;
      if (kind === "config" && isOwnRecord(labelsOf(old))) continue;
      const found = listed.find((object) => (object.ID ?? object.Id) === id);
      compared.push({ kind, name, ...compareFields(kind === "network" ? networkFields : ["Spec"], old, found) });
    }
  }
  const [cluster] = tools.source.swarm.list("cluster");
  if (cluster !== undefined) {
    const old = asJson(tools.source.swarm.get("cluster", cluster.id, false));
    const [found] = await list(manager, "/swarm", signal);
    compared.push({ kind: "cluster", name: cluster.id, ...compareFields(["ID", "Spec"], old, found) });
  }
  return { compared };
}

async function compareServices(
  tools: RecoveryTools,
  manager: RemoteMachine,
  context: StepContext,
): Promise<ComparedObject[]> {
  const listed = await list(manager, "/services", context.signal);
  const renaming = renamingOf(tools, context);
  const { waves, own } = tools.plan;
  const released = new Set(waves.flat().map(({ id }) => id));
  const ownIds = new Set(own.map(({ id }) => id));
  const ended = new Set(tools.plan.endedJobs);
  // Of a survivor that goes on as it is; of a state that is laid down they were undone.
  const holds = new Map(openHolds(tools.source.swarm.state.store).map((record) => [record.serviceId, record.former]));
  return tools.plan.services.map(({ id, name, spec: former }): ComparedObject => {
    const mapped = mappedSpec(former, renaming);
    const found = listed.find((object) => object.ID === id);
    const at = { kind: "service", name } as const;
    if (found === undefined) return { ...at, state: "missing", detail: "" };
    const present = found["Spec"];
    if (sameSpec(present, former)) return { ...at, state: "equal", detail: "" };
    if (sameSpec(present, mapped)) return { ...at, state: "mapped", detail: whatIsMapped(former, mapped) };
    if (ownIds.has(id)) return { ...at, state: "mapped", detail: "Skep's own: a new controller key" };
    if (holds.has(id) && sameSpec(present, holds.get(id))) {
      return { ...at, state: "mapped", detail: "Skep held it, and has let it go since" };
    }
    if (!released.has(id) && !ended.has(id)) return { ...at, state: "held", detail: "a job: --run-jobs" };
    return { ...at, state: "different", detail: differingFields(present, mapped).join(", ") };
  });
}

function whatIsMapped(former: object, mapped: object): string {
  const fields = differingFields(former, mapped);
  return [
    ...(fields.includes("TaskTemplate.Placement") ? ["constraints name the new nodes"] : []),
    ...(fields.includes("TaskTemplate.ContainerSpec") ? ["its image was loaded, and has another name"] : []),
  ].join("; ");
}

export async function compareNodes(
  tools: RecoveryTools,
  manager: RemoteMachine,
  context: StepContext,
): Promise<ComparedObject[]> {
  const listed = await list(manager, "/nodes", context.signal);
  const ids = nodeIdsOf(tools, context);
  return tools.plan.machines.flatMap(({ name, role, replaces, dress }): ComparedObject[] => {
    const [old] = replaces;
    if (old === undefined) return [];
    const found = listed.find(({ ID }) => ID === ids.get(name));
    const at = { kind: "node", name: old.hostname } as const;
    if (found === undefined) return [{ ...at, state: "missing", detail: "" }];
    const spec = found["Spec"] as { Labels?: unknown; Role?: unknown; Availability?: unknown };
    const other = [
      ...(sameSpec(spec.Labels ?? {}, dress.labels) ? [] : ["Labels"]),
      ...(spec.Availability === dress.availability ? [] : ["Availability"]),
      ...(spec.Role === role ? [] : ["Role"]),
    ];
    if (other.length > 0) return [{ ...at, state: "different", detail: other.join(", ") }];
    const detail = found.ID === old.id ? "" : `is ${name} now, id ${found.ID ?? ""}`;
    return [{ ...at, state: detail === "" ? "equal" : "mapped", detail }];
  });
}

function compareFields(
  fields: readonly string[],
  old: Record<string, unknown>,
  found: AnyObject | undefined,
): Pick<ComparedObject, "state" | "detail"> {
  if (found === undefined) return { state: "missing", detail: "" };
  const other = fields.filter((field) => !sameSpec(old[field], found[field]));
  return other.length === 0 ? { state: "equal", detail: "" } : { state: "different", detail: other.join(", ") };
}

/** Names of the topmost fields that differ, one level into the task template. */
function differingFields(present: unknown, wanted: unknown, prefix = ""): string[] {
  const [a, b] = [present, wanted] as Record<string, unknown>[];
  const names = new Set([...Object.keys(a ?? {}), ...Object.keys(b ?? {})]);
  return [...names].flatMap((name) => {
    if (sameSpec(a?.[name], b?.[name])) return [];
    return name === "TaskTemplate" ? differingFields(a?.[name], b?.[name], "TaskTemplate.") : [`${prefix}${name}`];
  });
}

async function list(manager: RemoteMachine, path: string, signal: AbortSignal): Promise<AnyObject[]> {
  const answer = await manager.askEngine({ path }, signal);
  return z.array(anyObject).parse(Array.isArray(answer) ? answer : [answer]);
}

function labelsOf({ Spec }: Record<string, unknown>): Record<string, unknown> | undefined {
  return (Spec as { Labels?: Record<string, unknown> } | undefined)?.Labels;
}

function asJson(value: unknown): Record<string, unknown> {
  return JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
}

/** What the compare step left; empty before it is done. */
export function comparedOf(resultOf: (step: string) => StepResult | null): ComparedObject[] {
  return (resultOf(stepIds.compare)?.["compared"] ?? []) as ComparedObject[];
}
