// Letting services go: each gets the spec that it had, with the plan's mappings and nothing else changed, and is waited for.
// A service that does not become healthy is reported and stops nobody: it may have been ill before.
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { isJob, looksHeld } from "../objects/held.ts";
import { isNewerDefault, serviceSpecSchema } from "../objects/portable.ts";
import type { StepResult } from "./journal.ts";
import { imageNamesOf } from "./images/image-names.ts";
import { renameConstraint, type Renaming } from "./placement.ts";
import { firstMachine, machineOf, type RecoveryTools } from "./recovery-tools.ts";
import type { RemoteMachine } from "./remote-machine.ts";
import type { StepContext } from "./steps.ts";
import { nodeIdsOf } from "./swarm-steps.ts";
import type { OldService } from "./swarm-view.ts";

export type Spec = Record<string, unknown>;

const serviceSchema = z.looseObject({
  Version: z.looseObject({ Index: z.int() }),
  Spec: z.record(z.string(), z.unknown()),
  PreviousSpec: z.record(z.string(), z.unknown()).nullish(),
});
const taskSchema = z.looseObject({
  DesiredState: z.string(),
  Status: z.looseObject({ State: z.string(), Err: z.string().optional(), Message: z.string().optional() }),
});

const pollMs = 700;
/** Long enough for a database that recovers; a service that fails all that time is reported. */
export const defaultHealthMs = 300_000;
/** A global service none of whose nodes fits has no task, and is as it should be. */
const noTaskMs = 8_000;
/** An image that is not there does not come by waiting. */
const hopeless = /No such image|pull access denied|manifest unknown/i;
const hopelessMs = 45_000;

/** How names and ids of the old swarm read in the new one. */
export function renamingOf(tools: RecoveryTools, context: Pick<StepContext, "resultOf">): Renaming {
  const newIds = nodeIdsOf(tools, context);
  const ids = new Map<string, string>();
  for (const { name, replaces } of tools.plan.machines) {
    for (const { id } of replaces) ids.set(id, newIds.get(name) ?? "");
  }
  return { ids, hostnames: tools.plan.renamed, images: imageNamesOf(tools.plan, context.resultOf) };
}

export function mappedSpec(spec: Spec, renaming: Renaming): Spec {
  const copy = structuredClone(spec);
  const template = copy["TaskTemplate"] as
    { Placement?: { Constraints?: string[] }; ContainerSpec?: { Image?: string } } | undefined;
  const container = template?.ContainerSpec;
  if (container?.Image !== undefined) container.Image = renaming.images.get(container.Image) ?? container.Image;
  const constraints = template?.Placement?.Constraints;
  if (template?.Placement !== undefined && constraints !== undefined) {
    template.Placement.Constraints = constraints.map((text) => renameConstraint(text, renaming));
  }
  return copy;
}

export interface Release {
  service: OldService;
  spec: Spec;
}

export async function releaseWave(
  tools: RecoveryTools,
  releases: readonly Release[],
  healthMs: number,
  context: StepContext,
): Promise<StepResult> {
  const manager = machineOf(tools, firstMachine(tools).name);
  for (const { service, spec } of releases) {
    context.onProgress(`letting ${service.name} go`, null);
    await writeSpec(manager, service.id, spec, context.signal);
  }
  const released = releases.map(({ service }) => service);
  return { services: await awaitHealth(tools, released, healthMs, context) };
}

/** By name: `healthy`, or what is wrong when the time is over. */
export async function awaitHealth(
  tools: RecoveryTools,
  released: readonly OldService[],
  healthMs: number,
  { signal, onProgress }: StepContext,
): Promise<Record<string, string>> {
  const manager = machineOf(tools, firstMachine(tools).name);
  const services: Record<string, string> = {};
  const startedAt = tools.now();
  let waiting = [...released];
  while (waiting.length > 0) {
    const still: OldService[] = [];
    for (const service of waiting) {
      const waitedMs = tools.now() - startedAt;
      const health = await healthOf(manager, service, waitedMs, signal);
      if (health === "healthy") services[service.name] = health;
      else if (waitedMs > healthMs || (hopeless.test(health) && waitedMs > hopelessMs)) services[service.name] = health;
      else still.push(service);
    }
    waiting = still;
    if (waiting.length === 0) break;
    const names = waiting.map(({ name }) => name).join(", ");
    onProgress(`waiting for ${names}`, (released.length - waiting.length) / released.length);
    await sleep(pollMs, undefined, { signal });
  }
  return services;
}

/**
 * Twice: the swarm keeps the spec before the last update, and a rollback, also one that swarm makes itself where tasks fail,
 * would find the held one. The second update changes nothing, so no task starts anew; but a job would run again, and is written once.
 */
export async function writeSpec(
  manager: Pick<RemoteMachine, "engine" | "askEngine">,
  id: string,
  spec: Spec,
  signal: AbortSignal,
): Promise<void> {
  // A newer engine may show fields that the copy's did not: what it was just given then reads otherwise.
  let written = false;
  const wanted = serviceSpecSchema.parse(spec);
  for (let tries = 1; ; tries++) {
    const {
      Version,
      Spec: present,
      PreviousSpec,
    } = await manager.engine(serviceSchema, { path: `/services/${id}` }, signal);
    const free = written || sameSpec(present, spec);
    if (free && (isJob(wanted) || PreviousSpec == null || !looksHeld(PreviousSpec, wanted))) return;
    // The engine keeps the registry's credentials, which the API never shows.
    const query = { version: Version.Index, registryAuthFrom: "spec" };
    try {
      await manager.askEngine({ method: "POST", path: `/services/${id}/update`, query, body: spec }, signal);
      if (free) return;
      written = true;
    } catch (error) {
      // Somebody else wrote meanwhile.
      written = false;
      if (!(error instanceof SkepError) || error.code !== "SKEP_DOCKER_CONFLICT" || tries >= 10) throw error;
      await sleep(100 * tries, undefined, { signal });
    }
  }
}

/** Equal but for what the engine leaves out when it is empty. */
export function sameSpec(a: unknown, b: unknown): boolean {
  return JSON.stringify(tidied(a)) === JSON.stringify(tidied(b));
}

function tidied(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.map(tidied);
  if (typeof value !== "object" || value === null) return value ?? undefined;
  const fields = Object.entries(value)
    .map(([name, field]) => [name, isNewerDefault(name, field) ? undefined : tidied(field)] as const)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return fields.length === 0 ? undefined : Object.fromEntries(fields);
}

/** `healthy`, or what is wrong. A task runs, for swarm, only once its health check passed. */
async function healthOf(
  manager: RemoteMachine,
  { id, mode, replicas }: OldService,
  waitedMs: number,
  signal: AbortSignal,
): Promise<string> {
  const query = { filters: JSON.stringify({ service: [id] }) };
  const tasks = await manager.engine(z.array(taskSchema), { path: "/tasks", query }, signal);
  const wanted = tasks.filter(({ DesiredState }) => DesiredState === "running");
  const running = wanted.filter(({ Status }) => Status.State === "running");
  if (mode === "job") {
    const ended = tasks.filter(({ Status }) => Status.State === "complete");
    return ended.length > 0 || running.length > 0 ? "healthy" : "has not run yet";
  }
  const complete =
    mode === "replicated"
      ? running.length >= replicas
      : wanted.length > 0
        ? running.length === wanted.length
        : waitedMs > noTaskMs;
  if (complete) return "healthy";
  const said = tasks.flatMap(({ Status }) => Status.Err ?? []).at(-1);
  const aim = mode === "replicated" ? replicas : Math.max(1, wanted.length);
  return `${running.length} of ${aim} tasks run${said === undefined ? "" : `: ${said}`}`;
}
