// A plan of a recovery for people and for scripts.
import type { Finding, RecoveryPlan } from "../recovery/recovery-plan.ts";
import { planMs, stepMs } from "../recovery/step-times.ts";
import type { RecoveryPlanDocument } from "./documents.ts";
import * as format from "./format.ts";
import type { Output } from "./output.ts";

const colours = { error: "red", warning: "yellow", note: "dim" } as const satisfies Record<Finding["severity"], string>;

export function planDocumentOf(plan: RecoveryPlan): RecoveryPlanDocument {
  return {
    mode: plan.mode,
    runId: plan.runId,
    takenAt: plan.takenAt,
    machines: plan.machines.map(({ name, advertise, role, replaces }) => ({
      name,
      address: advertise,
      role,
      replaces: replaces.map(({ hostname }) => hostname),
    })),
    gone: plan.gone.map(({ hostname }) => hostname),
    stateChangedAt: plan.stateChangedAt,
    newerTasks: plan.newerTasks,
    findings: plan.findings,
    steps: plan.steps.map((step) => ({
      ...{ id: step.id, phase: step.phase, title: step.title, after: [...step.after] },
      sizeBytes: step.sizeBytes ?? null,
      estimatedMs: Math.round(stepMs(step)),
    })),
    estimatedMs: Math.round(planMs(plan.steps)),
  };
}

/** `now` in ms since 1970. */
export function renderRecoveryPlan(style: Output["style"], plan: RecoveryPlan, now: number): string {
  const moved = [...plan.volumes.filter(({ how }) => how !== "make"), ...plan.dumps];
  const bytes = moved.reduce((sum, { source }) => sum + source.sizeBytes, 0);
  const lines = [
    style("bold", `Recovery, mode ${plan.mode}, from run ${plan.runId} (${format.age(plan.takenAt, now)})`),
    "",
    ...plan.machines.map(({ name, advertise, role, replaces }) => {
      const old = replaces.map(({ hostname }) => hostname).join(", ");
      return `  ${name} at ${advertise}, ${role}${old === "" ? ", new" : `, takes the place of ${old}`}`;
    }),
    ...plan.gone.map(({ hostname }) => `  ${hostname} is gone`),
    "",
    ...plan.steps.map((step, index) => {
      const { id, title, sizeBytes } = step;
      const size = sizeBytes === undefined ? "" : `, ${format.bytes(sizeBytes)}`;
      const time = `about ${format.duration(stepMs(step))}`;
      return `  ${String(index + 1).padStart(3)}. ${title}${size}, ${time}  ${style("dim", `[${id}]`)}`;
    }),
    "",
    `  ${format.bytes(bytes)} in ${format.plural(moved.length, "volume")}; about ${format.duration(planMs(plan.steps))} in all, services that are slow to start not counted`,
  ];
  if (plan.findings.length > 0) lines.push("");
  for (const { severity, code, text } of plan.findings) {
    lines.push(`  ${style(colours[severity], `${severity}:`)} ${format.visible(text)} ${style("dim", `[${code}]`)}`);
  }
  return lines.join("\n");
}
