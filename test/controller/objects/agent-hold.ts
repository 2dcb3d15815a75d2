// The agent's own hold, for a test that what it does can be undone by the controller's side.
import { heldSpec } from "../../../agent/quiesce.ts";
import type { ServiceSpec } from "../../../controller/objects/portable.ts";

export function heldForm(spec: ServiceSpec): ServiceSpec {
  const held = heldSpec(
    { ID: "id", Version: { Index: 1 }, Spec: spec } as unknown as Parameters<typeof heldSpec>[0],
    "hold1",
  );
  if (held === null) throw new Error("the agent holds no such service");
  return held;
}
