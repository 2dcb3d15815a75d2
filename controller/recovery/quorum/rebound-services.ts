// In a swarm that lives a service is updated only where it must be: where a constraint wants it on a node that is dead. None of
// its tasks can be alive then. A constraint that keeps a service away from a dead node is left alone: to rewrite it would
// start tasks anew that run. Pure.
import { parseConstraint } from "../placement.ts";
import type { PlannedMachine } from "../recovery-plan.ts";
import type { OldService } from "../swarm-view.ts";

export interface Replacements {
  machines: readonly Pick<PlannedMachine, "replaces" | "stays" | "facts">[];
  renamed: ReadonlyMap<string, string>;
}

/** Those that are bound to a node that another machine replaces. */
export function reboundServices(services: readonly OldService[], replacements: Replacements): OldService[] {
  return services.filter(({ constraints }) => constraints.some((text) => names(text, "==", replacements)));
}

/** Those that are kept away from such a node, and stay as they are. */
export function keptAwayServices(services: readonly OldService[], replacements: Replacements): OldService[] {
  return services.filter(
    (service) =>
      reboundServices([service], replacements).length === 0 &&
      service.constraints.some((text) => names(text, "!=", replacements)),
  );
}

function names(text: string, operator: "==" | "!=", { machines, renamed }: Replacements): boolean {
  const constraint = parseConstraint(text);
  if (constraint?.operator !== operator) return false;
  if (constraint.key === "node.hostname") return renamed.has(constraint.value);
  if (constraint.key !== "node.id") return false;
  return machines.some(({ stays, replaces }) => !stays && replaces.some(({ id }) => id === constraint.value));
}
