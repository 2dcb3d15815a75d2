// Whether a swarm has what was wanted, object by object and field by field: the end of every restore, and its report.
import { fieldChanges, type FieldChange } from "../../shared/raft/diff.ts";
import type { CreatedKind } from "../engine/engine.ts";
import { isHeld } from "./plan.ts";
import { comparable } from "./portable.ts";
import type { PresentObjects } from "./present-objects.ts";
import type { Selection } from "./selection.ts";

export interface ComparedObject {
  kind: CreatedKind;
  name: string;
  /** `held`: a service that is as wanted, but runs nothing yet. */
  result: "equal" | "held" | "different" | "missing";
  /** From what was wanted to what is there. Data of secrets is not in it: no engine shows it. */
  changes: FieldChange[];
}

export function compareObjects(wanted: Selection, present: PresentObjects): ComparedObject[] {
  const compared: ComparedObject[] = [];
  for (const { name, body } of wanted.networks) {
    const there = present.networks.find((network) => network.name === name);
    compared.push(compareOne("network", name, body, there?.body));
  }
  for (const { name, spec } of wanted.secrets) {
    const there = present.secrets.find((secret) => secret.name === name);
    compared.push(compareOne("secret", name, { ...spec, Data: null }, there?.spec));
  }
  for (const { name, spec } of wanted.configs) {
    const there = present.configs.find((config) => config.name === name);
    compared.push(compareOne("config", name, spec, there?.spec));
  }
  for (const { name, spec } of wanted.services) {
    const there = present.services.find((service) => service.name === name);
    const one = compareOne("service", name, spec, there?.spec);
    const held = one.result === "different" && there !== undefined && isHeld(there, spec);
    compared.push(held ? { ...one, result: "held" } : one);
  }
  return compared;
}

function compareOne(kind: CreatedKind, name: string, wanted: unknown, there: unknown): ComparedObject {
  if (there === undefined) return { kind, name, result: "missing", changes: [] };
  const changes = fieldChanges(comparable(wanted), comparable(there));
  return { kind, name, result: changes.length === 0 ? "equal" : "different", changes };
}
