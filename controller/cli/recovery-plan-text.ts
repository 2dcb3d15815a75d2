// A plan of a recovery for people and for scripts.
import { assumedBytesPerSecond } from "../recovery/plan.ts";
import type { Finding, RecoveryPlan } from "../recovery/recovery-plan.ts";
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
    findings: plan.findings,
    steps: plan.steps.map(({ id, phase, title, after, sizeBytes }) => ({
      id,
      phase,
      title,
      after: [...after],
      sizeBytes: sizeBytes ?? null,
    })),
  };
}

/** `now` in ms since 1970. */
export function renderRecoveryPlan(style: Output["style"], plan: RecoveryPlan, now: number): string {
  const bytes = plan.volumes.reduce((sum, { source }) => sum + source.sizeBytes, 0);
  const perMachine = plan.machines.map(({ name }) =>
    plan.volumes.reduce((sum, { source, machine }) => sum + (machine === name ? source.sizeBytes : 0), 0),
  );
  const estimateMs = (Math.max(0, ...perMachine) / assumedBytesPerSecond) * 1000;
  const lines = [
    style("bold", `Recovery, mode ${plan.mode}, from run ${plan.runId} (${format.age(plan.takenAt, now)})`),
    "",
    ...plan.machines.map(({ name, advertise, role, replaces }) => {
      const old = replaces.map(({ hostname }) => hostname).join(", ");
      return `  ${name} at ${advertise}, ${role}${old === "" ? ", new" : `, takes the place of ${old}`}`;
    }),
    ...plan.gone.map(({ hostname }) => `  ${hostname} is gone`),
    "",
    ...plan.steps.map(({ id, title, sizeBytes }, index) => {
      const size = sizeBytes === undefined ? "" : `, ${format.bytes(sizeBytes)}`;
      return `  ${String(index + 1).padStart(3)}. ${title}${size}  ${style("dim", `[${id}]`)}`;
    }),
    "",
    `  ${format.bytes(bytes)} in ${format.plural(plan.volumes.length, "volume")}, about ${format.duration(estimateMs)} for them`,
  ];
  if (plan.findings.length > 0) lines.push("");
  for (const { severity, code, text } of plan.findings) {
    lines.push(`  ${style(colours[severity], `${severity}:`)} ${format.visible(text)} ${style("dim", `[${code}]`)}`);
  }
  return lines.join("\n");
}
