// The steps of a plan, each with what it does: what all modes share is here, the rest is the mode's.
import { storedSetupsFor } from "./engine-setup/setup-sources.ts";
import { setEngineUp } from "./engine-setup/setup-step.ts";
import { raiseFence } from "./fence-step.ts";
import { imageActions } from "./images/image-steps.ts";
import { stepIds } from "./plan-steps.ts";
import type { StepResult } from "./journal.ts";
import { quorumActions } from "./quorum/quorum-mode.ts";
import { raftActions } from "./raft-mode.ts";
import { rebuildActions } from "./rebuild-mode.ts";
import { kitOn, machineOf, plannedMachine, type RecoveryTools } from "./recovery-tools.ts";
import { kitArchitecture } from "./runtime-kit.ts";
import type { PlannedStep, Step, StepActions, StepContext } from "./steps.ts";
import { findJoined, joinMachine } from "./swarm-steps.ts";
import { findTakenOver, takeRepositoryOver } from "./take-over.ts";
import { volumeActions } from "./volume-step.ts";

export interface CarryOutOptions {
  fenceCommand: string | null;
  /** How long a wave of services may take until it is healthy. */
  healthMs: number;
}

export function recoverySteps(tools: RecoveryTools, options: CarryOutOptions): Step[] {
  const ofMode = { raft: raftActions, quorum: quorumActions, rebuild: rebuildActions }[tools.plan.mode];
  const actions = new Map([...sharedActions(tools, options), ...ofMode(tools, options.healthMs)]);
  return tools.plan.steps.map((step: PlannedStep): Step => {
    const known = actions.get(step.id);
    if (known === undefined) throw new TypeError(`nobody knows how to do step ${step.id}`);
    return { ...step, ...known };
  });
}

function sharedActions(tools: RecoveryTools, { fenceCommand }: CarryOutOptions): Map<string, StepActions> {
  const { plan } = tools;
  const actions = new Map<string, StepActions>([
    [stepIds.fence, { act: (context) => raiseFence(tools, fenceCommand, context) }],
    [
      stepIds.takeOver,
      { check: (context) => findTakenOver(tools, context), act: (context) => takeRepositoryOver(tools, context) },
    ],
  ]);
  for (const { name } of plan.machines) {
    actions.set(stepIds.setup(name), { act: (context) => setUp(tools, name, context) });
    actions.set(stepIds.kit(name), { act: (context) => bringKit(tools, name, context) });
    actions.set(stepIds.join(name), {
      check: (context) => findJoined(tools, name, context),
      act: (context) => joinMachine(tools, name, context),
    });
    actions.set(stepIds.clean(name), {
      act: async ({ signal }) => {
        await kitOn(tools, name).remove(signal);
        return {};
      },
    });
  }
  for (const [id, action] of imageActions(tools)) actions.set(id, action);
  for (const volume of plan.volumes) {
    actions.set(stepIds.volume(volume.machine, volume.source.id), volumeActions(tools, volume));
  }
  return actions;
}

async function setUp(tools: RecoveryTools, name: string, context: StepContext): Promise<StepResult> {
  const stored = storedSetupsFor(plannedMachine(tools, name), tools.source.setups);
  return await setEngineUp({ machine: machineOf(tools, name), recoveryId: tools.recoveryId }, stored, context);
}

async function bringKit(tools: RecoveryTools, name: string, context: StepContext): Promise<Record<string, unknown>> {
  const { signal } = context;
  const architecture = kitArchitecture(plannedMachine(tools, name).facts.architecture);
  // The plan refused such a machine.
  if (architecture === null) throw new TypeError(`no kit for ${name}`);
  context.onProgress("packing the kit", null);
  const kit = await tools.kit(architecture);
  const onMachine = kitOn(tools, name);
  if (!(await onMachine.isThere(kit, signal))) {
    await onMachine.bring(
      kit,
      (sentBytes) => {
        context.onProgress("sending", sentBytes / kit.sizeBytes);
      },
      signal,
    );
  }
  return { sha256: kit.sha256, sizeBytes: kit.sizeBytes };
}
