// The plan of a recovery: from the run, the inventory and what the machines are like to an ordered list of steps, and what
// is to be said about it before anything is touched. Pure: nothing is asked or done here.
import { examine } from "./checks.ts";
import { imageNeeds, planImages } from "./images/planned-image.ts";
import { advertisedAddress, nodeGone, nodeSurvives, type Inventory } from "./inventory.ts";
import { mergedNode } from "./merged-node.ts";
import { planSteps, stepIds } from "./plan-steps.ts";
import { planVolumes } from "./planned-volumes.ts";
import { quorumSteps } from "./quorum/quorum-steps.ts";
import { defaultDockerSocket } from "./remote-machine.ts";
import type { PlanInput, PlannedMachine, RecoveryPlan } from "./recovery-plan.ts";
import { plannedRotations, rotatable } from "./rotation/rotations.ts";
import type { OldNode } from "./swarm-view.ts";
import { releaseWaves } from "./rebuild/waves.ts";

export function planRecovery(input: PlanInput): RecoveryPlan {
  const { inventory, view } = input;
  const homes = homesOf(inventory, view.nodes);
  const machines = planMachines(input, homes);
  const homed = input.volumes.flatMap((source) => {
    const home = homes.get(source.part.nodeId);
    if (home === undefined || home === nodeGone || home === nodeSurvives) return [];
    // A node that survived has its volumes, as they are now.
    return machines.some(({ name, stays }) => name === home && stays) ? [] : [{ source, machine: home }];
  });
  const released = view.services.filter(({ mode, own }) => !own && (mode !== "job" || input.runJobs));
  const toRelease = released.filter(({ ended }) => !ended || input.runJobs);
  // Mode quorum held nothing: there it is only looked whether they run.
  const waves = input.mode === "quorum" ? (toRelease.length > 0 ? [toRelease] : []) : releaseWaves(toRelease);
  const dumpsInto = waves.flat().filter(({ mode, replicas }) => mode === "global" || replicas > 0);
  const { volumes, dumps, leftOut } = planVolumes({
    homed,
    services: dumpsInto,
    withoutVolumes: input.withoutVolumes ?? [],
    folders: input.folders ?? new Map(),
    former: (what, machine, id) => {
      const step = what === "load" ? stepIds.load(machine, id) : stepIds.volume(machine, id);
      return input.begunSteps?.get(step) ?? null;
    },
    present: (machine, name) => input.facts.get(machine)?.volumes.find((volume) => volume.name === name) ?? null,
    begun: input.begun,
  });
  const asked = (id: string): boolean => input.withoutVolumes?.includes(id) === true;
  for (const source of input.volumes) {
    if (homes.get(source.part.nodeId) !== nodeGone) continue;
    const { id } = source;
    leftOut.push({ id, source, machine: null, why: "its node is gone", asked: asked(id), mayLoad: false });
  }
  for (const { id, nodeId, why } of input.nowhere ?? []) {
    const home = homes.get(nodeId);
    const machine = machines.find(({ name, stays }) => name === home && !stays)?.name ?? null;
    if (machine === null && home !== nodeGone) continue;
    leftOut.push({ id, source: null, machine, why: `no run has it whole: ${why}`, asked: asked(id), mayLoad: false });
  }
  const endedJobs = view.services.filter(({ ended }) => ended && !input.runJobs).map(({ id }) => id);
  const own = view.services.filter((service) => service.own);
  const gone = view.nodes.filter(({ id }) => homes.get(id) === nodeGone);
  const surviving = view.nodes.filter(({ id }) => homes.get(id) === nodeSurvives);
  const renamed = new Map(
    machines.flatMap(({ replaces, facts }) =>
      replaces.flatMap(({ hostname }): [string, string][] =>
        hostname === facts.hostname ? [] : [[hostname, facts.hostname]],
      ),
    ),
  );
  const needs = imageNeeds({ machines, services: [...waves.flat(), ...own], renamed }).filter(
    // A node that survived has what its tasks run from.
    ({ machine }) => !machines.some(({ name, stays }) => name === machine && stays),
  );
  const images = planImages(needs, machines, input.images ?? [], input.imageAnswers ?? null);
  const plan = {
    mode: input.mode,
    runId: input.run.id,
    takenAt: input.run.startedAt,
    clusterId: view.clusterId,
    survivor: input.survivor,
    ...{ machines, gone, surviving, volumes, dumps, leftOut, images, services: view.services },
    ...{ waves, own, endedJobs, renamed },
    secrets: view.secrets ?? [],
    setUp: machinesSetUp(input),
    rotatable: rotatable(view),
    rotations: plannedRotations(input.rotate ?? [], view, input.begunSteps ?? new Map()),
    stateChangedAt: view.lastChangeAt ?? null,
    // Once its swarm was begun, what the copy has not is the recovery's own.
    newerTasks: input.begun ? [] : [...(input.newerTasks?.values() ?? [])].flat(),
  };
  return {
    ...plan,
    findings: examine({
      ...{ ...input, ...plan, sources: input.volumes, homes },
      allowMissingImages: input.allowMissingImages ?? false,
      withoutVolumes: input.withoutVolumes ?? [],
      rotate: input.rotate ?? [],
    }),
    steps: input.mode === "quorum" ? quorumSteps(plan) : planSteps(plan),
  };
}

/** Once its swarm was begun no engine is restarted. */
function machinesSetUp({ applyNodeFacts, setup, begun, begunSteps }: PlanInput): string[] {
  if (applyNodeFacts !== true || setup === undefined) return [];
  return [...setup.keys()].filter((name) => !begun || begunSteps?.has(stepIds.setup(name)) === true);
}

/** Node id → machine, `gone` or `survives`; a node that the inventory does not name is missing. */
export function homesOf({ nodes }: Inventory, old: readonly OldNode[]): Map<string, string> {
  const homes = new Map<string, string>();
  for (const { id, hostname } of old) {
    const home = nodes[id] ?? nodes[hostname];
    if (home !== undefined) homes.set(id, home);
  }
  return homes;
}

/** The first manager is the machine of the node whose copy it is, where that is a manager: it keeps the node's id. */
function planMachines(
  { inventory, view, facts, copiedNodeId, mode, survivor, begun }: PlanInput,
  homes: ReadonlyMap<string, string>,
): PlannedMachine[] {
  const constraints = view.services.flatMap((service) => service.constraints);
  const machines = Object.entries(inventory.machines).flatMap(([name, machine]): PlannedMachine[] => {
    const known = facts.get(name);
    if (known === undefined) return [];
    // While its swarm directory is exchanged its engine knows of no node.
    const nodeId = begun && survivor?.machine === name ? survivor.nodeId : known.nodeId;
    const replaces = view.nodes.filter(({ id }) => homes.get(id) === name);
    return [
      {
        name,
        address: machine.address,
        advertise: advertisedAddress(machine),
        dataPath: machine.dataPath ?? null,
        dockerSocket: machine.dockerSocket ?? defaultDockerSocket,
        role: machine.role,
        replaces,
        dress: mergedNode(replaces, constraints),
        stays: mode === "quorum" && replaces.some(({ id }) => id === nodeId),
        facts: known,
      },
    ];
  });
  const rank = ({ name, role }: PlannedMachine): number =>
    role !== "manager" ? 2 : homes.get(copiedNodeId) === name ? 0 : 1;
  return machines.sort((a, b) => rank(a) - rank(b));
}
