// What services will call the images that had to be loaded, as the journal has it.
import type { StepResult } from "../journal.ts";
import { stepIds } from "../plan-steps.ts";
import type { RecoveryPlan } from "../recovery-plan.ts";

/** Former name → new one. */
export function imageNamesOf(
  plan: Pick<RecoveryPlan, "images">,
  resultOf: (step: string) => StepResult | null,
): Map<string, string> {
  // Without images there is no such step.
  if (plan.images.length === 0) return new Map();
  return new Map(Object.entries((resultOf(stepIds.imageNames)?.["mappings"] ?? {}) as Record<string, string>));
}

export interface LoadedImage {
  reference: string;
  how: string;
  /** Of one that is missing: what the first machine was told. */
  why: string;
  machines: string[];
}

/** For the report: each image that was loaded, and where. */
export function loadedImages(
  plan: Pick<RecoveryPlan, "images" | "machines">,
  resultOf: (step: string) => StepResult | null,
): LoadedImage[] {
  const found = new Map<string, LoadedImage>();
  for (const { name } of plan.machines) {
    const images = (resultOf(stepIds.images(name))?.["images"] ?? {}) as Record<string, { how: string; why?: string }>;
    for (const [reference, { how, why = "" }] of Object.entries(images)) {
      const one = found.get(`${how} ${reference}`) ?? { reference, how, why, machines: [] };
      found.set(`${how} ${reference}`, one);
      one.machines.push(name);
    }
  }
  return [...found.values()];
}
