// The steps of a recovery, in their order: volumes first, on machines that are in no swarm yet; then the swarm; then its
// nodes; then its services, held before, wave by wave. Mode raft lays the old swarm down, mode rebuild makes and fills one.
import { loadedBytes } from "./images/planned-image.ts";
import type { PlannedVolume, RecoveryPlan } from "./recovery-plan.ts";
import type { PlannedStep } from "./steps.ts";

export const stepIds = {
  fence: "fence",
  setup: (machine: string): string => `setup:${machine}`,
  kit: (machine: string): string => `kit:${machine}`,
  images: (machine: string): string => `images:${machine}`,
  imageNames: "image-names",
  volume: (machine: string, id: string): string => `volume:${machine}:${id}`,
  save: "save",
  takeOver: "take-over",
  swarm: "swarm",
  join: (machine: string): string => `join:${machine}`,
  nodes: "nodes",
  release: (wave: number): string => `release:${wave}`,
  own: "skep",
  compare: "compare",
  clean: (machine: string): string => `clean:${machine}`,
} as const;

export function volumeStep({ source, machine }: PlannedVolume): PlannedStep {
  return {
    id: stepIds.volume(machine, source.id),
    phase: "volumes",
    title: `restore volume ${source.id} on ${machine}`,
    after: [stepIds.kit(machine)],
    lane: machine,
    sizeBytes: source.sizeBytes,
  };
}

export function planSteps(plan: Omit<RecoveryPlan, "findings" | "steps">): PlannedStep[] {
  const { mode, machines, volumes, waves, own, setUp } = plan;
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
  const volumeIds = volumes.map(({ source, machine }) => stepIds.volume(machine, source.id));
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
  let last: string = stepIds.nodes;
  for (const [index, services] of waves.entries()) {
    const title = `let go: ${services.map(({ name }) => name).join(", ")}`;
    steps.push({ id: stepIds.release(index + 1), phase: "services", title, after: [last] });
    last = stepIds.release(index + 1);
  }
  if (own.length > 0) {
    const title = "let Skep's own services go, with a new controller key";
    steps.push({ id: stepIds.own, phase: "skep", title, after: [last] });
    last = stepIds.own;
  }
  steps.push({ id: stepIds.compare, phase: "compare", title: "compare every object with the copy", after: [last] });
  for (const { name } of machines) {
    const title = `take Skep's kit from ${name} again`;
    steps.push({ id: stepIds.clean(name), phase: "clean", title, after: [stepIds.compare] });
  }
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
