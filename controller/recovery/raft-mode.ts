// Mode raft: every manager is lost. The old swarm's state is laid down on the first machine and goes on.
import { compareSwarm } from "./compare-step.ts";
import { releaseOwn } from "./own-step.ts";
import { stepIds } from "./plan-steps.ts";
import { mappedSpec, releaseWave, renamingOf } from "./release-steps.ts";
import type { RecoveryTools } from "./recovery-tools.ts";
import type { StepActions } from "./steps.ts";
import { dressNodes, findSwarm, layDownSwarm } from "./swarm-steps.ts";

export function raftActions(tools: RecoveryTools, healthMs: number): Map<string, StepActions> {
  const actions = new Map<string, StepActions>([
    [stepIds.swarm, { check: (context) => findSwarm(tools, context), act: (context) => layDownSwarm(tools, context) }],
    [stepIds.nodes, { act: (context) => dressNodes(tools, context) }],
    [stepIds.own, { act: (context) => releaseOwn(tools, healthMs, context) }],
    [stepIds.compare, { act: (context) => compareSwarm(tools, context) }],
  ]);
  for (const [index, services] of tools.plan.waves.entries()) {
    actions.set(stepIds.release(index + 1), {
      act: async (context) => {
        const renaming = renamingOf(tools, context);
        const releases = services.map((service) => ({
          service,
          spec: mappedSpec(service.spec, renaming),
        }));
        return await releaseWave(tools, releases, healthMs, context);
      },
    });
  }
  return actions;
}
