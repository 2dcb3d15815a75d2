// A service that is there and runs nothing: so it waits for its volumes and for what it depends on. The same form as a held
// service in a rebased Raft state has.
import { heldConstraint } from "../../shared/raft/hold.ts";
import type { Json } from "../../shared/raft/engine-api/values.ts";
import { serviceSpecSchema, type ServiceSpec } from "./portable.ts";

export function isJob({ Mode }: ServiceSpec): boolean {
  return Mode.ReplicatedJob != null || Mode.GlobalJob != null;
}

/** Replicated at zero; of another mode with a constraint that no node meets. */
export function heldForm(spec: ServiceSpec): ServiceSpec {
  const { Replicated } = spec.Mode;
  if (Replicated != null) return { ...spec, Mode: { Replicated: { ...Replicated, Replicas: 0 } } };
  const placement = spec.TaskTemplate.Placement ?? {};
  const Constraints = [...(placement.Constraints ?? []), heldConstraint];
  return { ...spec, TaskTemplate: { ...spec.TaskTemplate, Placement: { ...placement, Constraints } } };
}

/** Of a spec as the API shows it: is it held, where `wanted` is not? */
export function looksHeld(spec: Json, wanted: ServiceSpec): boolean {
  const { Mode, TaskTemplate } = serviceSpecSchema.parse(spec);
  if ((TaskTemplate.Placement?.Constraints ?? []).includes(heldConstraint)) return true;
  return Mode.Replicated?.Replicas === 0 && wanted.Mode.Replicated?.Replicas !== 0;
}
