// Asks each machine how its engine is set up, and compares that with the nodes whose place it takes.
import type { PlannedMachine } from "../recovery-plan.ts";
import type { RemoteMachine } from "../remote-machine.ts";
import { compareSetup, type SetupDifferences } from "./engine-setup.ts";
import { readPresentSetup } from "./present-setup.ts";
import { setupPaths, storedSetupsFor } from "./setup-sources.ts";
import type { StoredSetup } from "./stored-setup.ts";

/** By machine, of those that take the place of a node whose facts the run has; at once. */
export async function compareSetups(
  planned: readonly PlannedMachine[],
  setups: ReadonlyMap<string, StoredSetup>,
  machines: ReadonlyMap<string, RemoteMachine>,
  signal: AbortSignal,
): Promise<Map<string, SetupDifferences>> {
  const asked = planned.map(async (one): Promise<[string, SetupDifferences][]> => {
    // A machine that survives is the node itself, and is left as it is.
    const stored = one.stays ? [] : storedSetupsFor(one, setups);
    const machine = machines.get(one.name);
    if (stored.length === 0 || machine === undefined) return [];
    return [[one.name, compareSetup(stored, await readPresentSetup(machine, setupPaths(stored), signal))]];
  });
  return new Map((await Promise.all(asked)).flat());
}
