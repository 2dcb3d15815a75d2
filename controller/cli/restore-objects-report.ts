// The plan of skep restore secret|config|network|service|stack, for people and as JSON.
import type { ComparedObject } from "../objects/comparison.ts";
import type { ObjectsPlan, PlanStep } from "../objects/plan.ts";
import type { RestoreObjectsDocument } from "./restore-documents.ts";
import * as format from "./format.ts";
import type { Output } from "./output.ts";

const signs: Record<PlanStep["action"], string> = { create: "+", keep: "=", update: "~", relabel: "~" };
const shownChanges = 20;

/** For stderr. */
export function renderPlan(output: Output, plan: ObjectsPlan, about: { source: string; engine: string }): string {
  const lines = [output.styleWords("bold", `From ${about.source} into the swarm of ${about.engine}:`)];
  for (const step of plan.steps) {
    lines.push(`  ${signs[step.action]} ${step.action} ${step.kind} ${format.visible(step.name)}: ${step.why}`);
    if (step.action === "create") continue;
    for (const { path, before, after } of step.changes.slice(0, shownChanges)) {
      lines.push(`      ${format.visible(path)}: ${valueText(before)} -> ${valueText(after)}`);
    }
    if (step.changes.length > shownChanges) lines.push(`      and ${step.changes.length - shownChanges} more`);
  }
  for (const { kind, name, what } of plan.conflicts) {
    lines.push(output.styleWords("red", `  ! ${kind} ${format.visible(name)}: ${format.visible(what)}`));
  }
  for (const note of plan.notes) lines.push(`  note: ${format.visible(note)}`);
  return lines.join("\n");
}

function valueText(value: unknown): string {
  return value === undefined ? "(none)" : format.clip(JSON.stringify(value), 120);
}

export function stepDocument({ kind, name, action, why, changes }: PlanStep): RestoreObjectsDocument["steps"][number] {
  const fields = changes.map(({ path, before = null, after = null }) => ({ path, before, after }));
  return { kind, name, action, why, changes: fields };
}

/** Those that are not as the plan left them; what it keeps may differ, and it said so. */
export function notAsPlanned(plan: ObjectsPlan, compared: readonly ComparedObject[]): ComparedObject[] {
  return compared.filter(
    (one, index) => one.result === "missing" || (one.result !== "equal" && plan.steps[index]?.action !== "keep"),
  );
}
