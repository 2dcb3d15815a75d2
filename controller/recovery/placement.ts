// Constraints of services, as swarmkit reads them (manager/constraint/constraint.go): which names and ids of the old
// swarm they hold, how they read in the new one, and whether a machine meets them. Pure.

export interface Constraint {
  key: string;
  operator: "==" | "!=";
  value: string;
}

/** Null for what swarmkit would not take either. */
export function parseConstraint(text: string): Constraint | null {
  const [, key, operator, value] = /^\s*([^\s=!]+)\s*(==|!=)\s*(.*?)\s*$/.exec(text) ?? [];
  if (key === undefined || value === undefined || (operator !== "==" && operator !== "!=")) return null;
  return { key, operator, value };
}

export interface Renaming {
  /** What services call an image → what they will, where that is something else. */
  images: ReadonlyMap<string, string>;
  /** Old node id → new one. */
  ids: ReadonlyMap<string, string>;
  /** Old hostname → new one, where they differ. */
  hostnames: ReadonlyMap<string, string>;
}

/** The constraint in the new swarm: the same text where nothing in it changed. */
export function renameConstraint(text: string, { ids, hostnames }: Omit<Renaming, "images">): string {
  const constraint = parseConstraint(text);
  if (constraint === null) return text;
  const { key, value } = constraint;
  const renamed = key === "node.id" ? ids.get(value) : key === "node.hostname" ? hostnames.get(value) : undefined;
  if (renamed === undefined) return text;
  const at = text.lastIndexOf(value);
  return text.slice(0, at) + renamed + text.slice(at + value.length);
}

/** What a constraint is compared with. */
export interface Place {
  id: string;
  hostname: string;
  role: string;
  labels: Readonly<Record<string, string>>;
}

/** True also for keys that only the running node knows (engine labels, platform, address). */
export function mayMeet(place: Place, constraints: readonly string[]): boolean {
  return constraints.every((text) => {
    const constraint = parseConstraint(text);
    if (constraint === null) return true;
    const found = valueOf(place, constraint.key);
    if (found === null) return true;
    // As swarmkit: without regard to case, for all but labels' keys.
    const equal = found.toLowerCase() === constraint.value.toLowerCase();
    return constraint.operator === "==" ? equal : !equal;
  });
}

/** Of a planned machine: what decides where services may start. */
export interface PlacedMachine {
  name: string;
  role: string;
  replaces: readonly { id: string }[];
  dress: { labels: Readonly<Record<string, string>> };
  facts: { hostname: string };
}

/** Machines on which a service may start, before they have joined: a machine's name stands for the id of its node. */
export function placesFor(
  { constraints }: { constraints: readonly string[] },
  { machines, renamed }: { machines: readonly PlacedMachine[]; renamed: ReadonlyMap<string, string> },
): string[] {
  const ids = new Map(machines.flatMap(({ name, replaces }) => replaces.map(({ id }) => [id, name] as const)));
  const inNewSwarm = constraints.map((text) => renameConstraint(text, { ids, hostnames: renamed }));
  return machines
    .filter(({ name, role, facts, dress }) =>
      mayMeet({ id: name, hostname: facts.hostname, role, labels: dress.labels }, inNewSwarm),
    )
    .map(({ name }) => name);
}

function valueOf(place: Place, key: string): string | null {
  if (key === "node.id") return place.id;
  if (key === "node.hostname") return place.hostname;
  if (key === "node.role") return place.role;
  if (key.startsWith("node.labels.")) return place.labels[key.slice("node.labels.".length)] ?? "";
  return null;
}
