// The steps of a plan, each with what it does: what all modes share is here, the rest is the mode's.
import { unlessAborted } from "../../shared/unless-aborted.ts";
import type { ComparedObject } from "./compare-step.ts";
import { compareVolumes } from "./compare-volumes.ts";
import { storedSetupsFor } from "./engine-setup/setup-sources.ts";
import { setEngineUp } from "./engine-setup/setup-step.ts";
import { raiseFence } from "./fence-step.ts";
import { imageActions } from "./images/image-steps.ts";
import { loadActions } from "./load-step.ts";
import { stepIds, volumeStepId } from "./plan-steps.ts";
import type { StepResult } from "./journal.ts";
import { quorumActions } from "./quorum/quorum-mode.ts";
import { raftActions } from "./raft-mode.ts";
import { rebuildActions } from "./rebuild-mode.ts";
import { kitOn, machineOf, plannedMachine, type RecoveryTools } from "./recovery-tools.ts";
import { probeSwarm } from "./probe/probe-step.ts";
import { rotationActions } from "./rotation/rotate-steps.ts";
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

/** What the mode compares, and the volumes on all machines. */
function withVolumes(tools: RecoveryTools, compare: StepActions): StepActions {
  return {
    ...compare,
    act: async (context) => {
      const result = await compare.act(context);
      return {
        ...result,
        compared: [...(result["compared"] as ComparedObject[]), ...(await compareVolumes(tools, context.signal))],
      };
    },
  };
}

export function recoverySteps(tools: RecoveryTools, options: CarryOutOptions): Step[] {
  const ofMode = { raft: raftActions, quorum: quorumActions, rebuild: rebuildActions }[tools.plan.mode];
  const actions = new Map([...sharedActions(tools, options), ...ofMode(tools, options.healthMs)]);
  return tools.plan.steps.map((step: PlannedStep): Step => {
    const action = actions.get(step.id);
    if (action === undefined) throw new TypeError(`nobody knows how to do step ${step.id}`);
    const known = step.id === stepIds.compare ? withVolumes(tools, action) : action;
    return { ...step, ...known };
  });
}

function sharedActions(tools: RecoveryTools, { fenceCommand, healthMs }: CarryOutOptions): Map<string, StepActions> {
  const { plan } = tools;
  const actions = new Map<string, StepActions>([
    [stepIds.probe, { act: (context) => probeSwarm(tools, healthMs, context) }],
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
  for (const [id, action] of [...imageActions(tools), ...rotationActions(tools)]) actions.set(id, action);
  for (const volume of plan.volumes) {
    actions.set(volumeStepId(volume), volumeActions(tools, volume));
  }
  for (const dump of plan.dumps) {
    actions.set(stepIds.load(dump.machine, dump.source.id), loadActions(tools, dump, healthMs));
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
  const kit = await unlessAborted(tools.kit(architecture), signal);
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
