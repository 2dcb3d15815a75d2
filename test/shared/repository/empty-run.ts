// Runs of no content, a second apart, for tests of the chain.
import type { NewRun } from "../../../shared/repository/run-chain.ts";

/** When the first chain of such runs begins; ms since 1970. */
export const beginning = Date.UTC(2026, 10, 21, 3);

/** `number`: 1 to 9. */
export function emptyRun(number: number): NewRun {
  const time = new Date(beginning + number * 1000).toISOString();
  return {
    ...{ id: `20261121-03000${number}-abcde${number}`, status: "done", trigger: "command", schedule: null },
    ...{ policyVersion: null, startedAt: time, endedAt: time, skepVersion: "0.1.0", clusterId: null },
    ...{ nodes: [], parts: [], notCovered: [], warnings: [] },
  };
}
