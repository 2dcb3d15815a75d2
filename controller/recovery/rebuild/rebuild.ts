// A fresh swarm becomes as the copied one was. Every part compares before it does, so that a rebuild that was cut off goes
// on when it is done again. Services are made held; release lets them start by wave, once their volumes are there.
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../../shared/errors.ts";
import type { Engine } from "../../engine/engine.ts";
import { boundSpec, carryOut, endMarks } from "../../objects/carry-out.ts";
import { compareObjects, type ComparedObject } from "../../objects/comparison.ts";
import { looksHeld } from "../../objects/held.ts";
import { isHeld, type ServiceStep } from "../../objects/plan.ts";
import { IdsByName, presentObjects } from "../../objects/present-objects.ts";
import type { PresentSwarm, RebuildPlan } from "./rebuild-plan.ts";
import { livenessOf, type Liveness } from "./liveness.ts";

export interface RebuildContext {
  engine: Engine;
  signal?: AbortSignal | undefined;
  /** A line for people on what was done just now. */
  say: (line: string) => void;
}

export async function presentSwarm({
  engine,
  signal,
}: Pick<RebuildContext, "engine" | "signal">): Promise<PresentSwarm> {
  return {
    swarm: await engine.swarm(signal),
    nodes: await engine.nodes(signal),
    objects: await presentObjects(engine, signal),
  };
}

/** Throws SKEP_REBUILD_CONFLICT where the plan has conflicts; nothing was done then. */
export function refuseRebuildConflicts({ conflicts }: RebuildPlan): void {
  const [first] = conflicts;
  if (first === undefined) return;
  const more = conflicts.length === 1 ? "" : ` (and ${conflicts.length - 1} more)`;
  throw new SkepError({
    code: "SKEP_REBUILD_CONFLICT",
    message: `nothing was changed: ${first.kind} ${first.name}: ${first.what}${more}`,
    permanent: true,
    hint: first.hint,
  });
}

export async function applySettings({ engine, signal, say }: RebuildContext, { settings }: RebuildPlan): Promise<void> {
  if (settings.spec === null) return;
  const { Version } = await engine.swarm(signal);
  await engine.updateSwarm(Version.Index, settings.spec, signal);
  say(`settings of the swarm: ${settings.changes.map(({ path }) => path).join(", ")}`);
}

export async function applyNodes({ engine, signal, say }: RebuildContext, { nodes }: RebuildPlan): Promise<void> {
  for (const { id, hostname, labels, availability } of nodes) {
    const there = (await engine.nodes(signal)).find(({ ID }) => ID === id);
    if (there === undefined) continue;
    const spec = { ...there.Spec, Labels: labels, Availability: availability };
    await engine.updateNode(id, there.Version.Index, spec, signal);
    say(`node ${hostname}: labels and availability`);
  }
}

/** Networks, secrets, configs, and services held. */
export async function makeObjects(context: RebuildContext, { ingress, objects }: RebuildPlan): Promise<void> {
  const { engine, signal, say } = context;
  if (ingress !== null) await engine.remove("network", ingress.remove, signal);
  await carryOut(engine, objects, {
    held: true,
    keepMarks: true,
    ...(signal === undefined ? {} : { signal }),
    onStep: ({ action, kind, name }) => {
      if (action !== "keep") say(`${kind} ${name}`);
    },
  });
}

export interface ReleaseOptions {
  /** For how long a wave is waited for, ms. */
  timeoutMs: number;
  pollMs: number;
}

/**
 * Releases a wave and waits until each service runs as it shall. Those that don't in time are given back with why; the
 * waves after them go on, for a service that is missing is better than all of them.
 */
export async function releaseWave(
  context: RebuildContext,
  plan: RebuildPlan,
  names: readonly string[],
  options: ReleaseOptions,
): Promise<Map<string, Liveness>> {
  const { engine, signal, say } = context;
  const present = await presentObjects(engine, signal);
  const ids = new IdsByName(engine, present);
  const wave = stepsOf(plan, names);
  for (const step of wave) {
    const there = present.services.find(({ name }) => name === step.name);
    if (there === undefined || !isHeld(there, step.spec)) continue;
    await engine.update("service", there, await boundSpec(step.spec, ids, signal), step.registryAuth, signal);
    say(`released ${step.name}`);
  }
  for (const step of wave) await forgetHold(context, step);
  return await untilLive(context, wave, options);
}

/** The same once more: the swarm keeps the spec before the last update, and a rollback shall not find the held one. */
async function forgetHold({ engine, signal }: RebuildContext, { name, spec }: ServiceStep): Promise<void> {
  const there = await engine.find("service", name, signal);
  if (there?.previousSpec == null || !looksHeld(there.previousSpec, spec)) return;
  await engine.update("service", there, there.spec, null, signal);
}

function stepsOf(plan: RebuildPlan, names: readonly string[]): ServiceStep[] {
  const services = plan.objects.steps.filter((step): step is ServiceStep => step.kind === "service");
  return services.filter(({ name }) => names.includes(name));
}

async function untilLive(
  { engine, signal, say }: RebuildContext,
  wave: readonly ServiceStep[],
  { timeoutMs, pollMs }: ReleaseOptions,
): Promise<Map<string, Liveness>> {
  const startedAt = performance.now();
  const live = new Map<string, Liveness>();
  for (;;) {
    const services = await engine.list("service", signal);
    const idOf = new Map(services.map(({ name, id }) => [name, id]));
    const tasks = await engine.tasks([...idOf.values()], signal);
    const waitedMs = performance.now() - startedAt;
    for (const { name, spec } of wave) {
      const before = live.get(name);
      if (before?.live === true) continue;
      const now = livenessOf(
        spec,
        tasks.filter(({ ServiceID }) => ServiceID === idOf.get(name)),
        waitedMs,
      );
      if (now.live) say(`${name}: ${now.detail}`);
      live.set(name, now);
    }
    if ([...live.values()].every((one) => one.live) || waitedMs >= timeoutMs) return live;
    await sleep(pollMs, undefined, signal === undefined ? {} : { signal });
  }
}

/** The last: nothing shows any more that Skep made it; then everything is compared. */
export async function finishRebuild({ engine, signal }: RebuildContext, plan: RebuildPlan): Promise<ComparedObject[]> {
  await endMarks(engine, plan.objects, signal);
  return compareObjects(plan.objects.steps, await presentObjects(engine, signal));
}
