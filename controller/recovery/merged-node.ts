// What a machine gets that takes the place of several nodes: the labels of all of them, and the most that any was available
// for. So a service that one of them could run can run there. Pure.
import { parseConstraint } from "./placement.ts";

export interface NodeDress {
  labels: Readonly<Record<string, string>>;
  /** active, pause, drain. */
  availability: string;
}

export interface MergedNode {
  labels: Record<string, string>;
  availability: string;
  /** Labels that had several values, of which a node can have one. */
  clashes: { label: string; values: string[]; taken: string }[];
}

const mostAvailableFirst = ["active", "pause", "drain"];
const labelKey = "node.labels.";

/** `constraints`: of all services. Of several values of a label the first is taken that a constraint asks for, else the first. */
export function mergedNode(nodes: readonly NodeDress[], constraints: readonly string[]): MergedNode {
  const asked = new Set(
    constraints.flatMap((text) => {
      const constraint = parseConstraint(text);
      if (constraint?.operator !== "==" || !constraint.key.startsWith(labelKey)) return [];
      return [`${constraint.key.slice(labelKey.length)}=${constraint.value.toLowerCase()}`];
    }),
  );
  const all = new Map<string, string[]>();
  for (const { labels } of nodes) {
    for (const [label, value] of Object.entries(labels)) {
      const values = all.get(label) ?? [];
      if (!values.includes(value)) values.push(value);
      all.set(label, values);
    }
  }
  const merged: MergedNode = { labels: {}, availability: "active", clashes: [] };
  for (const [label, values] of all) {
    const taken = values.find((value) => asked.has(`${label}=${value.toLowerCase()}`)) ?? values[0] ?? "";
    merged.labels[label] = taken;
    if (values.length > 1) merged.clashes.push({ label, values, taken });
  }
  const had = new Set(nodes.map(({ availability }) => availability));
  merged.availability = mostAvailableFirst.find((one) => had.has(one)) ?? "active";
  return merged;
}
