// Faults of a text or a value that somebody else wrote, for one message: its own words stand in them, keys above all, and the
// message about a megabyte must not be a megabyte.
import { z } from "zod";

const mostFaults = 50;
const longestFault = 300;

/** One line each, indented; what is too long is cut, and of what is too much the number is said. */
export function listFaults(faults: readonly string[]): string {
  return shown(faults, (fault) => `  ${cut(fault)}`).join("\n");
}

/** As listFaults, in one line. */
export function joinFaults(faults: readonly string[]): string {
  return shown(faults, cut).join("; ");
}

/** What a schema has against a value, in lines. */
export function shapeFaults({ issues }: z.ZodError): string {
  return shown(issues, (issue) => cut(z.prettifyError(new z.ZodError([issue])))).join("\n");
}

/** Only where a schema has something against a value, which may be secret. */
export function faultPlaces({ issues }: z.ZodError): string {
  const places = new Set(issues.map(({ path }) => path.join(".") || "the top"));
  return shown([...places], cut).join(", ");
}

function shown<T>(faults: readonly T[], say: (fault: T) => string): string[] {
  const lines = faults.slice(0, mostFaults).map(say);
  return faults.length > mostFaults ? [...lines, `and ${faults.length - mostFaults} more`] : lines;
}

function cut(fault: string): string {
  return fault.length > longestFault ? `${fault.slice(0, longestFault)}…` : fault;
}
