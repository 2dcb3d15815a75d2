// Mode raft: every manager is lost. The steps of the plan, each with what it does.
import { compareSwarm } from "./compare-step.ts";
import { raiseFence } from "./fence-step.ts";
import { releaseOwn } from "./own-step.ts";
import { stepIds } from "./plan-steps.ts";
import { mappedSpec, releaseWave, renamingOf } from "./release-steps.ts";
import { kitOn, plannedMachine, type RecoveryTools } from "./recovery-tools.ts";
import { kitArchitecture } from "./runtime-kit.ts";
import type { PlannedStep, Step, StepContext } from "./steps.ts";
import { dressNodes, findJoined, findSwarm, joinMachine, layDownSwarm } from "./swarm-steps.ts";
import { findTakenOver, takeRepositoryOver } from "./take-over.ts";
import { volumeActions } from "./volume-step.ts";

export interface RaftModeOptions {
  fenceCommand: string | null;
  /** How long a wave of services may take until it is healthy. */
  healthMs: number;
}

type Actions = Pick<Step, "check" | "act" | "verify">;

export function raftSteps(tools: RecoveryTools, options: RaftModeOptions): Step[] {
  const actions = actionsOf(tools, options);
  return tools.plan.steps.map((step: PlannedStep): Step => {
    const known = actions.get(step.id);
    if (known === undefined) throw new TypeError(`nobody knows how to do step ${step.id}`);
    return { ...step, ...known };
  });
}

function actionsOf(tools: RecoveryTools, options: RaftModeOptions): Map<string, Actions> {
  const { plan } = tools;
  const actions = new Map<string, Actions>([
    [stepIds.fence, { act: (context) => raiseFence(tools, options.fenceCommand, context) }],
    [
      stepIds.takeOver,
      { check: (context) => findTakenOver(tools, context), act: (context) => takeRepositoryOver(tools, context) },
    ],
    [stepIds.swarm, { check: (context) => findSwarm(tools, context), act: (context) => layDownSwarm(tools, context) }],
    [stepIds.nodes, { act: (context) => dressNodes(tools, context) }],
    [stepIds.own, { act: (context) => releaseOwn(tools, options.healthMs, context) }],
    [stepIds.compare, { act: (context) => compareSwarm(tools, context) }],
  ]);
  for (const { name } of plan.machines) {
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
  for (const volume of plan.volumes) {
    actions.set(stepIds.volume(volume.machine, volume.source.id), volumeActions(tools, volume));
  }
  for (const [index, services] of plan.waves.entries()) {
    actions.set(stepIds.release(index + 1), {
      act: async (context) => {
        const renaming = renamingOf(tools, context);
        const releases = services.map((service) => ({
          service,
          spec: mappedSpec(service.spec, renaming),
        }));
        return await releaseWave(tools, releases, options.healthMs, context);
      },
    });
  }
  return actions;
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
