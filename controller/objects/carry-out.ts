// Carries a plan out. Each step is one call of the engine that is done wholly or not at all, so a plan that was cut off is
// simply made and carried out again. What somebody else changes meanwhile stops it: nothing is written over unseen.
import { SkepError } from "../../shared/errors.ts";
import type { Json } from "../../shared/raft/engine-api/values.ts";
import type { Engine } from "../engine/engine.ts";
import { heldForm } from "../../shared/held-spec.ts";
import { labelsWithMark, removeMarks } from "./marks.ts";
import { createBody } from "./network-body.ts";
import type { FileStep, NetworkStep, ObjectsPlan, PlanStep, ServiceStep } from "./plan.ts";
import { fromPortable, referencesOf, type ServiceSpec } from "./portable.ts";
import { IdsByName, presentObjects, type PresentObjects } from "./present-objects.ts";
import { keyOf } from "./selection.ts";

export interface CarryOutOptions {
  /** Makes services held (held.ts). */
  held: boolean;
  /** Marks stay until `endMarks`: there is more to do before the objects count as restored. */
  keepMarks?: boolean;
  signal?: AbortSignal;
  onStep?: (step: PlanStep) => void;
}

/** Throws SKEP_OBJECTS_CONFLICT where the plan has conflicts; then nothing was done. */
export async function carryOut(engine: Engine, plan: ObjectsPlan, options: CarryOutOptions): Promise<void> {
  refuseConflicts(plan);
  const { signal, onStep } = options;
  const present = await presentObjects(engine, signal);
  const ids = new IdsByName(engine, present);
  for (const step of plan.steps) {
    signal?.throwIfAborted();
    if (step.kind === "network") await makeNetwork(engine, step, ids, signal);
    else if (step.kind === "service") await makeService(engine, step, present, ids, options);
    else await makeFile(engine, step, present, ids, signal);
    onStep?.(step);
  }
  if (options.keepMarks !== true) await endMarks(engine, plan, signal);
}

/** The last step of a restore: nothing shows any more that Skep made these objects. */
export async function endMarks(engine: Engine, { steps }: ObjectsPlan, signal?: AbortSignal): Promise<void> {
  const files = steps.filter(({ kind }) => kind === "secret" || kind === "config");
  await removeMarks(engine, new Set(files.map(({ kind, name }) => keyOf(kind, name))), signal);
}

export function refuseConflicts({ conflicts }: ObjectsPlan): void {
  const [first] = conflicts;
  if (first === undefined) return;
  const more = conflicts.length === 1 ? "" : ` (and ${conflicts.length - 1} more)`;
  throw new SkepError({
    code: "SKEP_OBJECTS_CONFLICT",
    message: `nothing was changed: ${first.kind} ${first.name}: ${first.what}${more}`,
    permanent: true,
    hint: first.hint,
  });
}

async function makeNetwork(engine: Engine, step: NetworkStep, ids: IdsByName, signal?: AbortSignal): Promise<void> {
  if (step.action === "create") {
    ids.set("network", step.name, await engine.create("network", createBody(step.body), null, signal));
  }
}

async function makeFile(
  engine: Engine,
  { kind, name, action, spec, mark }: FileStep,
  present: PresentObjects,
  ids: IdsByName,
  signal?: AbortSignal,
): Promise<void> {
  if (action === "keep") return;
  if (action === "create") {
    const Labels = labelsWithMark(spec["Labels"], mark);
    ids.set(kind, name, await engine.create(kind, { ...spec, Labels }, null, signal));
    return;
  }
  const there = present[`${kind}s`].find((file) => file.name === name);
  if (there === undefined) throw gone(engine, kind, name);
  await engine.update(kind, there, { ...there.spec, Labels: spec["Labels"] }, null, signal);
}

async function makeService(
  engine: Engine,
  step: ServiceStep,
  present: PresentObjects,
  ids: IdsByName,
  { held, signal }: CarryOutOptions,
): Promise<void> {
  if (step.action === "keep") return;
  const spec = await boundSpec(step.action === "create" && held ? heldForm(step.spec) : step.spec, ids, signal);
  if (step.action === "create") {
    await engine.create("service", spec, step.registryAuth, signal);
    return;
  }
  const there = present.services.find(({ name }) => name === step.name);
  if (there === undefined) throw gone(engine, "service", step.name);
  await engine.update("service", there, spec, step.registryAuth, signal);
}

/** A portable spec with the ids of the swarm. */
export async function boundSpec(spec: ServiceSpec, ids: IdsByName, signal?: AbortSignal): Promise<Json> {
  const networks = referencesOf(spec).filter(({ kind }) => kind === "network");
  await ids.learn(
    networks.map(({ name }) => name),
    signal,
  );
  return fromPortable(spec, (kind, name) => ids.get(kind, name));
}

function gone(engine: Engine, kind: string, name: string): SkepError {
  return new SkepError({
    code: "SKEP_OBJECTS_GONE",
    message: `${kind} ${name} is not in the swarm of ${engine.address} any more`,
    permanent: false,
    hint: "somebody removed it meanwhile: do it again",
  });
}
