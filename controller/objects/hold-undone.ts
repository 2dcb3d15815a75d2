// A service that Skep held when the copy was made, as it was before. The labels are those of agent/quiesce.ts, where the
// controller may not look; a test of both keeps them equal.
import type { ServiceSpec } from "./portable.ts";

export const holdLabel = "io.skep.hold";
const holdReplicasLabel = "io.skep.hold.replicas";

/** Null where the service is not held. One that its owner scaled up since keeps its replicas and loses the mark. */
export function withoutHold(spec: ServiceSpec): ServiceSpec | null {
  const { [holdLabel]: mark, [holdReplicasLabel]: former, ...labels } = spec.Labels ?? {};
  const { Replicated } = spec.Mode;
  if (mark === undefined || former === undefined || !/^\d{1,9}$/.test(former) || Replicated == null) return null;
  const replicas = Replicated.Replicas === 0 ? Number(former) : Replicated.Replicas;
  return { ...spec, Labels: labels, Mode: { Replicated: { ...Replicated, Replicas: replicas } } };
}
