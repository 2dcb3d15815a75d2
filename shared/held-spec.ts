// A service that is there and runs nothing, and what it is again without that: the one form for backups and restores
// (agent/quiesce), restored objects (controller/objects), rebased Raft states (shared/raft/hold.ts does the same to the
// engine's own messages) and what recoveries let go. Replicated: at zero. Any other: with a constraint that no node meets.
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";

/** No node has this id: a service with it starts nothing. */
export const heldConstraint = "node.id==held-by-skep";

/** Engine-API JSON. */
export const specJsonSchema = z.looseObject({
  Name: z.string().max(1024),
  Mode: z.looseObject({
    Replicated: z.looseObject({ Replicas: z.int().min(0).optional() }).nullish(),
    Global: z.looseObject({}).nullish(),
  }),
  TaskTemplate: z.looseObject({
    Placement: z.looseObject({ Constraints: z.array(z.string()).nullish() }).nullish(),
  }),
});
export type SpecJson = z.infer<typeof specJsonSchema>;

/** What of a spec is looked at here; all else stays as it is. Replicas are a text where a Raft copy has them. */
export interface Holdable {
  Mode: {
    Replicated?: { Replicas?: number | string | undefined } | null | undefined;
    Global?: object | null | undefined;
    ReplicatedJob?: unknown;
    GlobalJob?: unknown;
  };
  TaskTemplate: { Placement?: { Constraints?: string[] | null | undefined } | null | undefined };
}

/** Of a service of any mode. An update of a job would run it anew: one that is there is never given this form. */
export function heldForm<S extends Holdable>(spec: S): S {
  const { Mode, TaskTemplate } = spec;
  if (Mode.Replicated) return { ...spec, Mode: { ...Mode, Replicated: { ...Mode.Replicated, Replicas: 0 } } };
  return withConstraints(spec, [...(TaskTemplate.Placement?.Constraints ?? []), heldConstraint]);
}

/** Null for a job. */
export function heldSpec<S extends Holdable>(former: S): S | null {
  return former.Mode.Replicated || former.Mode.Global ? heldForm(former) : null;
}

/** Is it held, where `wanted` is not? */
export function looksHeld({ Mode, TaskTemplate }: Holdable, wanted: Holdable): boolean {
  if (TaskTemplate.Placement?.Constraints?.includes(heldConstraint)) return true;
  return Mode.Replicated?.Replicas === 0 && wanted.Mode.Replicated?.Replicas !== 0;
}

/**
 * A spec that was made of a held one, without what the hold left in it: a change that somebody made meanwhile carries the
 * hold on, unless it said otherwise. Null where nothing of it is left.
 */
export function withoutHold<S extends Holdable>(spec: S, former: Holdable): S | null {
  const { Mode, TaskTemplate } = spec;
  const constraints = TaskTemplate.Placement?.Constraints ?? [];
  if (constraints.includes(heldConstraint)) {
    return withConstraints(
      spec,
      constraints.filter((constraint) => constraint !== heldConstraint),
    );
  }
  const Replicas = former.Mode.Replicated?.Replicas ?? 1;
  if (!Mode.Replicated || Mode.Replicated.Replicas !== 0 || Replicas === 0) return null;
  return { ...spec, Mode: { ...Mode, Replicated: { ...Mode.Replicated, Replicas } } };
}

function withConstraints<S extends Holdable>(spec: S, Constraints: string[]): S {
  const { TaskTemplate } = spec;
  return { ...spec, TaskTemplate: { ...TaskTemplate, Placement: { ...TaskTemplate.Placement, Constraints } } };
}

/** Of JSON values: the order of keys does not count. */
export function sameSpec(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(a, b);
}
