// The steps of a recovery, in their order: volumes first, on machines that are in no swarm yet; then the swarm; then its
// nodes; then its services, held before, wave by wave. Mode raft lays the old swarm down, mode rebuild makes and fills one.
import { loadedBytes } from "./images/planned-image.ts";
import type { PlannedDump } from "./planned-dumps.ts";
import type { PlannedVolume } from "./planned-volumes.ts";
import { rotationSteps } from "./rotation/rotations.ts";
import type { RecoveryPlan } from "./recovery-plan.ts";
import type { PlannedStep } from "./steps.ts";

export const stepIds = {
  fence: "fence",
  setup: (machine: string): string => `setup:${machine}`,
  kit: (machine: string): string => `kit:${machine}`,
  images: (machine: string): string => `images:${machine}`,
  imageNames: "image-names",
  /** With its data. */
  volume: (machine: string, id: string): string => `volume:${machine}:${id}`,
  /** Without: what was only made must never pass for restored. */
  make: (machine: string, id: string): string => `make:${machine}:${id}`,
  save: "save",
  takeOver: "take-over",
  swarm: "swarm",
  join: (machine: string): string => `join:${machine}`,
  nodes: "nodes",
  load: (machine: string, id: string): string => `load:${machine}:${id}`,
  release: (wave: number): string => `release:${wave}`,
  own: "skep",
  compare: "compare",
  probe: "probe",
  clean: (machine: string): string => `clean:${machine}`,
} as const;

export const probeTitle = "probe published ports, names and addresses of the overlays";

export function volumeStepId({ source, machine, how }: PlannedVolume): string {
  return how === "make" ? stepIds.make(machine, source.id) : stepIds.volume(machine, source.id);
}

export function volumeStep(volume: PlannedVolume): PlannedStep {
  const { source, machine, how } = volume;
  const step = { id: volumeStepId(volume), phase: "volumes", after: [stepIds.kit(machine)], lane: machine };
  if (how === "make") return { ...step, title: `make volume ${source.id} on ${machine}, without data` };
  return { ...step, title: `restore volume ${source.id} on ${machine}`, sizeBytes: source.sizeBytes };
}

/** The dumps of the services of one wave, once it is released. */
export function loadSteps(
  dumps: readonly PlannedDump[],
  services: readonly { name: string }[],
  released: string,
): PlannedStep[] {
  return dumps
    .filter(({ service }) => services.some(({ name }) => name === service))
    .map(({ source, machine, service, elsewhere }) => ({
      id: stepIds.load(machine, source.id),
      phase: "dumps",
      title: `load the dump of ${source.id} into ${service}`,
      after: [released],
      // One container takes one at a time.
      lane: elsewhere ? `into ${service}` : machine,
      sizeBytes: source.sizeBytes,
    }));
}

export function planSteps(plan: Omit<RecoveryPlan, "findings" | "steps">): PlannedStep[] {
  const { mode, machines, volumes, dumps, waves, own, setUp } = plan;
  const [first, ...others] = machines;
  if (first === undefined) return [];
  const steps: PlannedStep[] = [
    {
      id: stepIds.fence,
      phase: "fence",
      title: "make sure that no manager of the old swarm is alive",
      after: [],
    },
  ];
  for (const { name } of machines) {
    const isSetUp = setUp.includes(name);
    if (isSetUp) {
      const title = `set the engine of ${name} up as it was on the nodes whose place it takes`;
      steps.push({ id: stepIds.setup(name), phase: "setup", title, after: [stepIds.fence], lane: name });
    }
    const title = `bring Skep to ${name}`;
    const after = [isSetUp ? stepIds.setup(name) : stepIds.fence];
    steps.push({ id: stepIds.kit(name), phase: "kit", title, after, lane: name });
  }
  steps.push(...volumes.map(volumeStep));
  const bringImages = imageSteps(plan);
  steps.push(...bringImages);
  const imageIds = bringImages.map(({ id }) => id);
  const volumeIds = volumes.map(volumeStepId);
  const takeOver = "take the repository over: the old swarm's controller may write to it no more";
  const ready = [...machines.map(({ name }) => stepIds.kit(name)), ...volumeIds, ...imageIds];
  steps.push({ id: stepIds.takeOver, phase: "swarm", title: takeOver, after: ready });
  steps.push({
    id: stepIds.swarm,
    phase: "swarm",
    title:
      mode === "rebuild"
        ? `make a new swarm on ${first.name} (${first.advertise}), with the settings of the former one`
        : `start the swarm on ${first.name} (${first.advertise}), all services held`,
    after: [stepIds.takeOver],
  });
  // Managers one after the other: each changes the quorum. Workers then at once.
  let before: string = stepIds.swarm;
  for (const { name, role } of others.filter((machine) => machine.role === "manager")) {
    steps.push({ id: stepIds.join(name), phase: "join", title: `${name} joins as ${role}`, after: [before] });
    before = stepIds.join(name);
  }
  const workers = others.filter((machine) => machine.role === "worker");
  for (const { name, role } of workers) {
    steps.push({ id: stepIds.join(name), phase: "join", title: `${name} joins as ${role}`, after: [before] });
  }
  steps.push({
    id: stepIds.nodes,
    phase: "nodes",
    title:
      mode === "rebuild"
        ? "give nodes their labels and availability, make networks, secrets, configs and services, all held"
        : "give nodes their labels and availability back, remove the dead",
    after: workers.length > 0 ? workers.map(({ name }) => stepIds.join(name)) : [before],
  });
  let last: string[] = [stepIds.nodes];
  for (const [index, services] of waves.entries()) {
    const title = `let go: ${services.map(({ name }) => name).join(", ")}`;
    const release = stepIds.release(index + 1);
    steps.push({ id: release, phase: "services", title, after: last });
    // Those that need a database find its rows there.
    const loads = loadSteps(dumps, services, release);
    steps.push(...loads);
    last = [release, ...loads.map(({ id }) => id)];
  }
  if (own.length > 0) {
    const title = "let Skep's own services go, with a new controller key";
    steps.push({ id: stepIds.own, phase: "skep", title, after: last });
    last = [stepIds.own];
  }
  steps.push({ id: stepIds.compare, phase: "compare", title: "compare every object with the copy", after: last });
  steps.push({ id: stepIds.probe, phase: "probe", title: probeTitle, after: [stepIds.compare] });
  for (const { name } of machines) {
    const title = `take Skep's kit from ${name} again`;
    steps.push({ id: stepIds.clean(name), phase: "clean", title, after: [stepIds.probe] });
  }
  const cleaned = machines.map(({ name }) => stepIds.clean(name));
  steps.push(...rotationSteps(plan.rotations, [stepIds.probe, ...cleaned]));
  return steps;
}

/** Each machine gets those that it needs; then they get their names. None where no machine needs any. */
export function imageSteps({ machines, images }: Pick<RecoveryPlan, "machines" | "images">): PlannedStep[] {
  const steps = machines.flatMap(({ name }): PlannedStep[] => {
    const count = images.filter(({ machine }) => machine === name).length;
    if (count === 0) return [];
    const sizeBytes = loadedBytes(images, name);
    const step: PlannedStep = {
      id: stepIds.images(name),
      phase: "images",
      title: `see that ${name} has the images of its services (${count})`,
      after: [stepIds.kit(name)],
      lane: name,
    };
    return [sizeBytes > 0 ? { ...step, sizeBytes } : step];
  });
  if (steps.length === 0) return [];
  const title = "give images that were loaded the names by which services ask for them";
  return [...steps, { id: stepIds.imageNames, phase: "images", title, after: steps.map(({ id }) => id) }];
}
