// A rebuild as steps of a recovery: `swarm` makes the swarm on the first manager; once all machines have joined, `fill` makes
// everything in it, held; and once the volumes are there, `release` starts it wave by wave. Each step plans anew from what
// is there, so that it may be cut off anywhere and done again.
import { SkepError } from "../../../shared/errors.ts";
import type { Engine } from "../../engine/engine.ts";
import { isJob } from "../../objects/held.ts";
import type { Step, StepContext } from "../steps.ts";
import {
  applyNodes,
  applySettings,
  finishRebuild,
  makeObjects,
  presentSwarm,
  refuseRebuildConflicts,
  releaseWave,
  type RebuildContext,
  type ReleaseOptions,
} from "./rebuild.ts";
import { isOfSkep, planRebuild, type CopiedSwarm, type RebuildOptions, type RebuildPlan } from "./rebuild-plan.ts";
import { initBody, rebuildLabel, type SwarmAddresses } from "./settings.ts";
import { releaseWaves } from "./waves.ts";

export interface RebuildStepsOptions extends Omit<RebuildOptions, "nodes"> {
  copied: CopiedSwarm;
  /** The copy with what is known only on the way, such as a key that takes another's place; without it `copied` itself. */
  amended?: (context: StepContext) => Promise<CopiedSwarm>;
  /** Of the first manager; asked anew by each step, for a connection may have been lost. */
  engine: (signal: AbortSignal) => Promise<Engine>;
  addresses: SwarmAddresses;
  /** Who makes the swarm: one that is there and bears no such mark is somebody else's. Null takes one that is there as it is. */
  mark: string | null;
  /** Ids of the new swarm's nodes by those of the copy, known once they have joined. */
  nodes: (context: StepContext) => ReadonlyMap<string, string> | Promise<ReadonlyMap<string, string>>;
  /** Ids of the steps by which the machines join, and of those that bring volumes back. */
  joined: readonly string[];
  volumes: readonly string[];
  /** Names of services, in the order in which they are let go; without it as their needs say, Skep's last. */
  waves?: readonly (readonly string[])[];
  release: ReleaseOptions;
}

export const swarmStepId = "rebuild:swarm";
const fillStepId = "rebuild:fill";
const phase = "rebuild";

/** In order; the ids are the same for one copy. */
export function rebuildSteps(options: RebuildStepsOptions): Step[] {
  const waves = options.waves ?? wavesOf(options);
  const releases = waves.map((names, index) => releaseStep(options, names, index));
  return [swarmStep(options), fillStep(options), ...releases, finishStep(options, releases.at(-1)?.id ?? fillStepId)];
}

function wavesOf({ copied, runJobs }: RebuildStepsOptions): string[][] {
  const { services } = copied.objects;
  const released = services.filter(({ spec }) => runJobs || !isJob(spec));
  return releaseWaves(released, isOfSkep(services)).map((wave) => wave.map(({ name }) => name));
}

function swarmStep({ copied, engine, addresses, mark }: RebuildStepsOptions): Step {
  const nodeOf = async (signal: AbortSignal): Promise<string | null> => {
    const manager = await engine(signal);
    const { Swarm } = await manager.info(signal);
    if (Swarm.LocalNodeState === "inactive") return null;
    if (mark === null) return Swarm.NodeID;
    const { Spec } = await manager.swarm(signal);
    const labels = (Spec["Labels"] ?? {}) as Record<string, unknown>;
    if (labels[rebuildLabel] !== mark) throw foreignSwarm(manager.address);
    return Swarm.NodeID;
  };
  return {
    id: swarmStepId,
    phase,
    title: `make a swarm at ${addresses.advertise}, with the settings of the former one`,
    after: [],
    check: async ({ signal }) => {
      const nodeId = await nodeOf(signal);
      return nodeId === null ? null : { nodeId };
    },
    act: async ({ signal }) => {
      if (copied.settings === null) throw withoutSettings();
      const nodeId = await (await engine(signal)).initSwarm(initBody(copied.settings, addresses, mark), signal);
      return { nodeId };
    },
  };
}

function fillStep(options: RebuildStepsOptions): Step {
  const { networks, secrets, configs, services } = options.copied.objects;
  const count = networks.length + secrets.length + configs.length + services.length;
  return {
    id: fillStepId,
    phase,
    title: `make ${count} networks, secrets, configs and services, held`,
    after: [swarmStepId, ...options.joined],
    act: async (context) => {
      const { plan, rebuild } = await planned(options, context);
      refuseRebuildConflicts(plan);
      await applySettings(rebuild, plan);
      await applyNodes(rebuild, plan);
      await makeObjects(rebuild, plan);
      return { objects: count, mappings: plan.mappings, notes: [...plan.settings.notes, ...plan.notes] };
    },
    verify: async (context) => {
      const { plan } = await planned(options, context);
      refuseRebuildConflicts(plan);
      const left = plan.objects.steps.find(({ action }) => action !== "keep");
      if (left !== undefined) throw notThere(left.kind, left.name);
    },
  };
}

function releaseStep(options: RebuildStepsOptions, names: readonly string[], index: number): Step {
  return {
    id: `rebuild:release-${index + 1}`,
    phase: "release",
    title: `release ${names.join(", ")}`,
    after: [index === 0 ? fillStepId : `rebuild:release-${index}`, ...options.volumes],
    act: async (context) => {
      const { plan, rebuild } = await planned(options, context);
      const live = await releaseWave(rebuild, plan, names, options.release);
      return { services: [...live].map(([name, { live: isLive, detail }]) => ({ name, live: isLive, detail })) };
    },
  };
}

function finishStep(options: RebuildStepsOptions, last: string): Step {
  return {
    id: "rebuild:compare",
    phase: "compare",
    title: "compare everything with the copy, field by field",
    after: [last],
    act: async (context) => {
      const { plan, rebuild } = await planned(options, context);
      const settings = plan.settings.changes.map(({ path }) => path);
      return { objects: await finishRebuild(rebuild, plan), settings };
    },
  };
}

async function planned(
  options: RebuildStepsOptions,
  context: StepContext,
): Promise<{ plan: RebuildPlan; rebuild: RebuildContext }> {
  const { signal, onProgress } = context;
  const engine = await options.engine(signal);
  const say = (line: string): void => {
    onProgress(line, null);
  };
  const rebuild = { engine, signal, say };
  const { subnets, runJobs } = options;
  const nodes = await options.nodes(context);
  const copied = (await options.amended?.(context)) ?? options.copied;
  return { rebuild, plan: planRebuild(copied, await presentSwarm(rebuild), { nodes, subnets, runJobs }) };
}

function foreignSwarm(address: string): SkepError {
  return new SkepError({
    code: "SKEP_REBUILD_CONFLICT",
    message: `the engine at ${address} is in a swarm that this recovery did not make`,
    permanent: true,
    hint: "docker swarm leave --force there, if nobody needs it",
  });
}

function withoutSettings(): SkepError {
  return new SkepError({
    code: "SKEP_REBUILD_CONFLICT",
    message: "the copy has no settings of the swarm",
    permanent: true,
    hint: "was it proven? `skep raft verify`",
  });
}

function notThere(kind: string, name: string): SkepError {
  return new SkepError({
    code: "SKEP_REBUILD_CONFLICT",
    message: `${kind} ${name} was made, and is not there or not as it shall be`,
    permanent: false,
    hint: "is somebody else at work in this swarm?",
  });
}
