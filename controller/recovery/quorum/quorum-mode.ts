// Mode quorum: a manager survives, the majority is lost. The swarm goes on from what the survivor has; nodes that live are not
// held, not stopped, not overwritten.
import { compareSwarm } from "../compare-step.ts";
import type { StepResult } from "../journal.ts";
import { releaseOwn } from "../own-step.ts";
import { stepIds } from "../plan-steps.ts";
import { awaitHealth, mappedSpec, renamingOf, writeSpec } from "../release-steps.ts";
import { firstMachine, machineOf, type RecoveryTools } from "../recovery-tools.ts";
import type { StepActions, StepContext } from "../steps.ts";
import type { OldService } from "../swarm-view.ts";
import { findLead, takeLead } from "./lead-step.ts";
import { dressNewNodes } from "./living-nodes.ts";
import { findReadmitted, readmit } from "./readmit-step.ts";
import { reboundServices } from "./rebound-services.ts";
import { saveCopy } from "./saved-copy.ts";

export function quorumActions(tools: RecoveryTools, healthMs: number): Map<string, StepActions> {
  const actions = new Map<string, StepActions>([
    [stepIds.save, { act: (context) => save(tools, context) }],
    [stepIds.swarm, { check: (context) => findLead(tools, context), act: (context) => takeLead(tools, context) }],
    [stepIds.nodes, { act: (context) => dressNewNodes(tools, context) }],
    [stepIds.own, { act: (context) => releaseOwn(tools, healthMs, context) }],
    [stepIds.compare, { act: (context) => compareSwarm(tools, context) }],
  ]);
  for (const { name, stays } of tools.plan.machines) {
    if (!stays || name === firstMachine(tools).name) continue;
    actions.set(stepIds.join(name), {
      check: (context) => findReadmitted(tools, name, context),
      act: (context) => readmit(tools, name, context),
    });
  }
  for (const [index, services] of tools.plan.waves.entries()) {
    actions.set(stepIds.release(index + 1), { act: (context) => settle(tools, services, healthMs, context) });
  }
  return actions;
}

async function save(tools: RecoveryTools, { signal }: StepContext): Promise<StepResult> {
  if (tools.survivors === null) throw new TypeError("mode quorum without a survivor");
  const recipients = tools.operator.repositoryObject.recipients.map(({ recipient }) => recipient);
  return await saveCopy(tools.folder, tools.survivors, recipients, tools.now(), signal);
}

async function settle(
  tools: RecoveryTools,
  services: readonly OldService[],
  healthMs: number,
  context: StepContext,
): Promise<StepResult> {
  const manager = machineOf(tools, firstMachine(tools).name);
  const renaming = renamingOf(tools, context);
  for (const { id, name, spec } of reboundServices(services, tools.plan)) {
    context.onProgress(`binding ${name} to its new node`, null);
    await writeSpec(manager, id, mappedSpec(spec, renaming), context.signal);
  }
  return { services: await awaitHealth(tools, services, healthMs, context) };
}
