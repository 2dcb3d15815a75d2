// The steps of mode quorum, in their order. The swarm lives on its workers meanwhile: replacements of dead machines get their
// volumes, what the surviving manager has is saved, it becomes the only manager, others join, the dead are struck off.
import type { RecoveryPlan } from "../recovery-plan.ts";
import { imageSteps, loadSteps, probeTitle, stepIds, volumeStep } from "../plan-steps.ts";
import type { PlannedStep } from "../steps.ts";
import { rotationSteps } from "../rotation/rotations.ts";
import { reboundServices } from "./rebound-services.ts";
import { wayOf } from "./planned-survivor.ts";

export function quorumSteps(plan: Omit<RecoveryPlan, "findings" | "steps">): PlannedStep[] {
  const { survivor, machines, volumes, dumps, waves, own } = plan;
  if (survivor === null) return [];
  const steps: PlannedStep[] = [];
  const add = (step: PlannedStep): string => {
    steps.push(step);
    return step.id;
  };
  add({
    id: stepIds.fence,
    phase: "fence",
    title: "make sure that no manager lives but those that are listed as surviving",
    after: [],
  });
  const saved = add({
    id: stepIds.save,
    phase: "save",
    title: `save the swarm's state of ${survivor.machine}, encrypted to the operators, beside the journal`,
    after: [stepIds.fence],
  });
  const served = [...new Set([...volumes, ...dumps, ...plan.images].map(({ machine }) => machine))];
  const ready = served.map((name) => {
    const title = `bring Skep to ${name}`;
    return add({ id: stepIds.kit(name), phase: "kit", title, after: [stepIds.fence], lane: name });
  });
  ready.push(...volumes.map((volume) => add(volumeStep(volume))), ...imageSteps(plan).map((step) => add(step)));
  const takeOver = "take the repository over: a controller on a lost machine may write to it no more";
  add({ id: stepIds.takeOver, phase: "swarm", title: takeOver, after: [saved, ...ready] });
  const how =
    wayOf(survivor) === "force"
      ? "its engine goes on, swarm starts the tasks of this one node anew"
      : "its engine is stopped for it, and all containers of this one machine start anew";
  let last = add({
    id: stepIds.swarm,
    phase: "swarm",
    title: `make ${survivor.machine} (${survivor.host}) the only manager; ${how}`,
    after: [stepIds.takeOver],
  });
  const others = machines.filter(({ name }) => name !== survivor.machine);
  // One after the other: each changes the quorum.
  for (const { name, stays } of others.filter(({ role }) => role === "manager")) {
    const title = stays
      ? `${name} leaves the lost quorum and is a manager again, its tasks run on`
      : `${name} joins as manager`;
    last = add({ id: stepIds.join(name), phase: "join", title, after: [last] });
  }
  const workers = others.filter(({ role }) => role === "worker");
  const joined = workers.map(({ name, stays }) => {
    const title = stays ? `${name} finds its managers again` : `${name} joins as worker`;
    return add({ id: stepIds.join(name), phase: "join", title, after: [last] });
  });
  last = add({
    id: stepIds.nodes,
    phase: "nodes",
    title: "give new nodes labels and availability of those they replace, remove the dead, wait for those that survive",
    after: joined.length > 0 ? joined : [last],
  });
  let ending = [last];
  for (const [index, services] of waves.entries()) {
    const rebound = reboundServices(services, plan).map(({ name }) => name);
    const first = rebound.length === 0 ? "" : `bind ${rebound.join(", ")} to the new nodes; `;
    const title = `${first}wait until all services run`;
    const release = add({ id: stepIds.release(index + 1), phase: "services", title, after: ending });
    const loads = loadSteps(dumps, services, release).map((step) => add(step));
    ending = [release, ...loads];
  }
  if (own.length > 0) {
    const title = "give Skep's own services the new controller key";
    ending = [add({ id: stepIds.own, phase: "skep", title, after: ending })];
  }
  last = add({
    id: stepIds.compare,
    phase: "compare",
    title: "compare every object with the saved state",
    after: ending,
  });
  last = add({ id: stepIds.probe, phase: "probe", title: probeTitle, after: [last] });
  const cleaned = served.map((name) =>
    add({ id: stepIds.clean(name), phase: "clean", title: `take Skep's kit from ${name} again`, after: [last] }),
  );
  for (const step of rotationSteps(plan.rotations, [last, ...cleaned])) add(step);
  return steps;
}
