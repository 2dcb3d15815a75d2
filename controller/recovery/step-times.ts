// How long the steps of a plan take, roughly: what a step of its kind took in recoveries on a quiet machine of two cores
// (docs/RUNBOOK.md, "What was measured"), and its bytes. How long services need until they are healthy is their own
// matter. Pure.
import type { PlannedStep } from "./steps.ts";

/** What one machine restores in a second. */
const bytesPerSecond = 40_000_000;
/** By a step's phase. */
const baseMs: Readonly<Record<string, number>> = {
  fence: 6_000,
  setup: 10_000,
  kit: 12_000,
  volumes: 2_000,
  images: 5_000,
  save: 5_000,
  swarm: 5_000,
  join: 4_000,
  nodes: 3_000,
  services: 10_000,
  dumps: 5_000,
  skep: 20_000,
  compare: 3_000,
  probe: 3_000,
  rotate: 3_000,
  clean: 2_000,
};

export function stepMs({ phase, sizeBytes }: Pick<PlannedStep, "phase" | "sizeBytes">): number {
  return (baseMs[phase] ?? 0) + ((sizeBytes ?? 0) / bytesPerSecond) * 1000;
}

/** Of all of them, done as runSteps does them: each as soon as those before it are done, in a lane one at a time. */
export function planMs(steps: readonly PlannedStep[]): number {
  const endAt = new Map<string, number>();
  const laneFreeAt = new Map<string, number>();
  // A step comes after those that it waits for.
  for (const step of steps) {
    const ready = Math.max(0, ...step.after.map((id) => endAt.get(id) ?? 0));
    const startAt = Math.max(ready, step.lane === undefined ? 0 : (laneFreeAt.get(step.lane) ?? 0));
    const end = startAt + stepMs(step);
    endAt.set(step.id, end);
    if (step.lane !== undefined) laneFreeAt.set(step.lane, end);
  }
  return Math.max(0, ...endAt.values());
}
