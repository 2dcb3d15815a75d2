// The question whether a recovery rotates the swarm's keys at its end, where --rotate says nothing of it.
import type { RecoveryPlan } from "../recovery/recovery-plan.ts";
import { rotationStepId } from "../recovery/rotation/rotations.ts";
import { agree } from "./confirm.ts";
import * as format from "./format.ts";
import type { PlanOptions, Planned } from "./planned-recovery.ts";
import type { Session } from "./session.ts";

/** The plan with what the operator wants; the one that there is where he is not asked, or says no. */
export async function askRotations(
  session: Session,
  { rotate, yes }: Pick<PlanOptions, "rotate"> & { yes?: boolean },
  { plan, planRotating }: Pick<Planned, "plan" | "planRotating">,
): Promise<RecoveryPlan> {
  const { output } = session;
  if (rotate !== undefined || yes === true || output.json || !output.interactive) return plan;
  // A new swarm has keys of its own; what was begun goes on without being asked for.
  if (plan.mode === "rebuild" || plan.rotations.length > 0) return plan;
  const what = plan.rotatable.join(", ");
  output.say("Whoever has a disk of the lost machines has the keys that the swarm has again.");
  if (!(await agree(session, false, `Rotate ${what} once all is back?`))) return plan;
  const rotating = planRotating(plan.rotatable);
  const ids = new Set<string>(rotating.rotations.map(rotationStepId));
  for (const { id, title } of rotating.steps) {
    if (ids.has(id)) output.say(`  and at the end: ${title}  ${output.styleWords("dim", `[${id}]`)}`);
  }
  for (const { text } of rotating.findings) {
    if (!plan.findings.some((finding) => finding.text === text)) output.warn(format.visible(text));
  }
  return rotating;
}
