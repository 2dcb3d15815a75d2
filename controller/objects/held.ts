// Services as a recovery looks at them: is one a job, is one still held?
import { looksHeld as specLooksHeld } from "../../shared/held-spec.ts";
import type { Json } from "../../shared/raft/engine-api/values.ts";
import { serviceSpecSchema, type ServiceSpec } from "./portable.ts";

export function isJob({ Mode }: ServiceSpec): boolean {
  return Mode.ReplicatedJob != null || Mode.GlobalJob != null;
}

/** Of a spec as the API shows it: is it held, where `wanted` is not? */
export function looksHeld(spec: Json, wanted: ServiceSpec): boolean {
  return specLooksHeld(serviceSpecSchema.parse(spec), wanted);
}
