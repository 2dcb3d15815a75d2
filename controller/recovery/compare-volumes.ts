// What the engines say of each volume that a recovery restored or made: driver, options and labels, by which services and
// Skep's own words find it. Its content is proven when it is restored.
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import type { ComparedObject } from "./compare-step.ts";
import { machineOf, type RecoveryTools } from "./recovery-tools.ts";
import { sameSpec } from "./release-steps.ts";

const volumeSchema = z.looseObject({
  Driver: z.string(),
  Options: z.record(z.string(), z.string()).nullish(),
  Labels: z.record(z.string(), z.string()).nullish(),
});

export async function compareVolumes(tools: RecoveryTools, signal: AbortSignal): Promise<ComparedObject[]> {
  const compared: ComparedObject[] = [];
  for (const { source, machine } of tools.plan.volumes) {
    const { name, driver, options, labels } = source.part.volume;
    const call = { path: `/volumes/${name}` };
    const found = await machineOf(tools, machine)
      .engine(volumeSchema, call, signal)
      .catch((error: unknown) => {
        if (error instanceof SkepError && error.code === "SKEP_DOCKER_NOT_FOUND") return null;
        throw error;
      });
    const other =
      found === null
        ? []
        : [
            ...(found.Driver === driver ? [] : ["Driver"]),
            ...(sameSpec(found.Options ?? {}, options) ? [] : ["Options"]),
            ...(sameSpec(found.Labels ?? {}, labels) ? [] : ["Labels"]),
          ];
    const state = found === null ? "missing" : other.length === 0 ? "equal" : "different";
    compared.push({ kind: "volume", name: source.id, state, detail: other.join(", ") });
  }
  return compared;
}
