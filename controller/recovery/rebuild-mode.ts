// Mode rebuild: the swarm is made anew, and everything in it by the API, from the copy. What is made and how is decided in
// rebuild/; here it gets its machines, its engine over SSH, and Skep's new controller key.
import { createHash } from "node:crypto";
import { connectEngine } from "../engine/docker.ts";
import type { ComparedObject as ComparedOne } from "../objects/comparison.ts";
import { renameReferences } from "../objects/portable.ts";
import { compareNodes, type ComparedObject } from "./compare-step.ts";
import { raiseFence } from "./fence-step.ts";
import { imageNamesOf } from "./images/image-names.ts";
import type { StepResult } from "./journal.ts";
import { keyReferences, newKeySecret } from "./own-step.ts";
import { stepIds, volumeStepId } from "./plan-steps.ts";
import { copiedSwarm, pathsOf, type CopiedSwarm } from "./rebuild/rebuild-plan.ts";
import { rebuildSteps } from "./rebuild/rebuild-steps.ts";
import { firstMachine, machineOf, type RecoveryTools } from "./recovery-tools.ts";
import { renamingOf } from "./release-steps.ts";
import type { Step, StepActions, StepContext } from "./steps.ts";
import { nodeIdsOf } from "./swarm-steps.ts";

const pollMs = 700;

export function rebuildActions(tools: RecoveryTools, healthMs: number): Map<string, StepActions> {
  const { plan } = tools;
  const [, ...others] = plan.machines;
  const first = firstMachine(tools);
  const machine = machineOf(tools, first.name);
  const copied = copiedSwarm(tools.source.swarm.state, tools.source.undone);
  const waves = [...plan.waves, ...(plan.own.length > 0 ? [plan.own] : [])];
  const steps = rebuildSteps({
    copied,
    amended: async (context) => withImageNames(tools, (await withNewKey(tools, copied, context)).copied, context),
    engine: async (signal) =>
      await connectEngine({ kind: "agent", agent: await machine.engineAgent(signal), name: `ssh://${first.name}` }),
    addresses: first,
    mark: tools.recoveryId,
    nodes: (context) => renamingOf(tools, context).ids,
    subnets: tools.subnets,
    runJobs: tools.runJobs,
    joined: others.map(({ name }) => stepIds.join(name)),
    volumes: plan.volumes.map(volumeStepId),
    waves: waves.map((services) => services.map(({ name }) => name)),
    release: { timeoutMs: healthMs, pollMs },
  });
  const [swarm, fill, ...more] = steps;
  const compare = more.pop();
  if (swarm === undefined || fill === undefined || compare === undefined)
    throw new TypeError("a rebuild without steps");
  const actions = new Map<string, StepActions>([
    [
      stepIds.swarm,
      fenced(
        tools,
        actionsOf(swarm, (result) => result),
      ),
    ],
    [
      stepIds.nodes,
      actionsOf(fill, (result, context) => ({ ...result, nodes: Object.fromEntries(nodeIdsOf(tools, context)) })),
    ],
    [stepIds.compare, actionsOf(compare, (result, context) => comparison(tools, result, context))],
  ]);
  for (const [index, release] of more.entries()) {
    if (index < plan.waves.length) actions.set(stepIds.release(index + 1), actionsOf(release, healthOf));
    else {
      const ownResult = async (result: StepResult, context: StepContext): Promise<StepResult> => {
        const { secret } = await withNewKey(tools, copied, context);
        return { ...healthOf(result), controllerKeySecret: secret };
      };
      actions.set(stepIds.own, actionsOf(release, ownResult));
    }
  }
  return actions;
}

/** As laying down does: an old manager may have come back while volumes were restored, and its services with it. */
function fenced(tools: RecoveryTools, actions: StepActions): StepActions {
  return {
    ...actions,
    act: async (context) => {
      await raiseFence(tools, null, context);
      return await actions.act(context);
    },
  };
}

/** Its result in the words of the other modes, for the report. */
function actionsOf(
  step: Step,
  told: (result: StepResult, context: StepContext) => StepResult | Promise<StepResult>,
): StepActions {
  const { check, verify } = step;
  return {
    act: async (context) => await told(await step.act(context), context),
    ...(check !== undefined && { check }),
    ...(verify !== undefined && { verify }),
  };
}

/**
 * The copy with the new controller key in place of the old one, which counts no more: under another name, as one of a
 * secret's name and other data would be taken for the old one. `secret` is null where no service has such a key.
 */
async function withNewKey(
  tools: RecoveryTools,
  copied: CopiedSwarm,
  context: Pick<StepContext, "resultOf">,
): Promise<{ copied: CopiedSwarm; secret: string | null }> {
  const own = new Set(tools.plan.own.map(({ name }) => name));
  const services = copied.objects.services.filter(({ name }) => own.has(name));
  const former = services.flatMap(({ spec }) => keyReferences(spec))[0]?.SecretName;
  const key = former === undefined ? null : await newKeySecret(tools, former, context);
  if (key === null) return { copied, secret: null };
  const { name, data } = key;
  // Of the recovery, not of the data: whoever may list secrets can read it.
  const mark = createHash("sha256").update(`${tools.recoveryId} ${name}`).digest("hex").slice(0, 32);
  const rename = (kind: string, referred: string): string =>
    kind === "secret" && referred === former ? name : referred;
  const { objects } = copied;
  const amended = {
    ...objects,
    secrets: objects.secrets.map((secret) =>
      secret.name === former ? { ...secret, name, mark, spec: { ...secret.spec, Name: name, Data: data } } : secret,
    ),
    services: objects.services.map((service) => ({ ...service, spec: renameReferences(service.spec, rename) })),
  };
  return { copied: { ...copied, objects: amended }, secret: name };
}

function withImageNames(
  tools: RecoveryTools,
  copied: CopiedSwarm,
  context: Pick<StepContext, "resultOf">,
): CopiedSwarm {
  const names = imageNamesOf(tools.plan, context.resultOf);
  if (names.size === 0) return copied;
  const services = copied.objects.services.map((service) => {
    const spec = structuredClone(service.spec);
    const container = spec.TaskTemplate.ContainerSpec;
    if (container?.Image !== undefined) container.Image = names.get(container.Image) ?? container.Image;
    return { ...service, spec };
  });
  return { ...copied, objects: { ...copied.objects, services } };
}

function healthOf(result: StepResult): StepResult {
  const services = result["services"] as { name: string; live: boolean; detail: string }[];
  return { services: Object.fromEntries(services.map(({ name, live, detail }) => [name, live ? "healthy" : detail])) };
}

async function comparison(tools: RecoveryTools, result: StepResult, context: StepContext): Promise<StepResult> {
  const manager = machineOf(tools, firstMachine(tools).name);
  const names = imageNamesOf(tools.plan, context.resultOf);
  const renamed = new Set(tools.plan.services.filter(({ image }) => names.has(image)).map(({ name }) => name));
  const objects = (result["objects"] as ComparedOne[]).map(({ kind, name, result: state, changes }): ComparedObject => {
    const held = state === "held" ? "a job: --run-jobs" : "";
    if (kind === "service" && state === "equal" && renamed.has(name)) {
      return { kind, name, state: "mapped", detail: "its image was loaded, and has another name" };
    }
    return { kind, name, state, detail: changes.length > 0 && held === "" ? pathsOf(changes) : held };
  });
  const settings = result["settings"] as string[];
  const cluster: ComparedObject = {
    kind: "cluster",
    name: tools.plan.clusterId,
    state: settings.length === 0 ? "mapped" : "different",
    detail: settings.length === 0 ? "a new swarm of the same settings" : settings.join(", "),
  };
  return { compared: [...objects, ...(await compareNodes(tools, manager, context)), cluster] };
}
