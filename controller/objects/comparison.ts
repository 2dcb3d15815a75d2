// Whether a swarm has what was wanted, object by object and field by field: the end of every restore, and its report.
import { fieldChanges, type FieldChange } from "../../shared/raft/diff.ts";
import type { CreatedKind } from "../engine/engine.ts";
import { withChosenAddresses } from "./network-body.ts";
import { isHeld, type PlanStep } from "./plan.ts";
import { comparable } from "./portable.ts";
import type { PresentObjects } from "./present-objects.ts";

export interface ComparedObject {
  kind: CreatedKind;
  name: string;
  /** `held`: a service that is as wanted, but runs nothing yet. */
  result: "equal" | "held" | "different" | "missing";
  /** From what was wanted to what is there. Data of secrets is not in it: no engine shows it. */
  changes: FieldChange[];
}

/** Of secrets that are there nobody sees whether their data is as wanted. */
export function compareObjects(steps: readonly PlanStep[], present: PresentObjects): ComparedObject[] {
  return steps.map((step) => compareStep(step, present));
}

function compareStep(step: PlanStep, present: PresentObjects): ComparedObject {
  const { kind, name } = step;
  const named = (object: { name: string }): boolean => object.name === name;
  if (step.kind === "network") {
    const there = present.networks.find(named);
    const wanted = there === undefined ? step.body : withChosenAddresses(step.body, there.body);
    return compareOne(kind, name, wanted, there?.body);
  }
  if (step.kind === "service") {
    const there = present.services.find(named);
    const one = compareOne(kind, name, step.spec, there?.spec);
    const held = one.result === "different" && there !== undefined && isHeld(there, step.spec);
    return held ? { ...one, result: "held" } : one;
  }
  const wanted = step.kind === "secret" ? { ...step.spec, Data: null } : step.spec;
  return compareOne(kind, name, wanted, present[`${step.kind}s`].find(named)?.spec);
}

function compareOne(kind: CreatedKind, name: string, wanted: unknown, there: unknown): ComparedObject {
  if (there === undefined) return { kind, name, result: "missing", changes: [] };
  const changes = fieldChanges(comparable(wanted), comparable(there));
  return { kind, name, result: changes.length === 0 ? "equal" : "different", changes };
}
