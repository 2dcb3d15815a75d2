// The swarms that the soak of Raft copies goes through. SKEP_SOAK_SHAPE picks some by the beginnings of their names, with
// commas between: "trixie/one,forky/three/rotated".
import { suites, type Suite } from "../../lab/apt-sources.ts";

export interface Shape {
  engine: Suite;
  managers: 1 | 3;
  /**
   * Autolock is off all the time, or switched amid copies, or on, and the unlock key rotated amid copies. Of three copies
   * one is left in peace.
   */
  lock: "open" | "switched" | "rotated";
  /** Whether a manager has only its log, or snapshot files that come and go. */
  disk: "log" | "snapshots";
}

/**
 * In the order in which a swarm goes through them: what has a snapshot file once is never without again, and whoever locks
 * a swarm gets one, since the data key changes.
 */
const kinds: Pick<Shape, "lock" | "disk">[] = [
  { lock: "open", disk: "log" },
  { lock: "open", disk: "snapshots" },
  { lock: "switched", disk: "snapshots" },
  { lock: "rotated", disk: "snapshots" },
];

export function nameOf({ engine, managers, lock, disk }: Shape): string {
  return `${engine}/${managers === 1 ? "one" : "three"}/${lock}/${disk}`;
}

/** Those of one swarm together. `wanted`: beginnings of names with commas between; empty for all. */
export function chosenShapes(wanted: string): { engine: Suite; managers: 1 | 3; shapes: Shape[] }[] {
  const beginnings = wanted.split(",");
  const isChosen = (shape: Shape): boolean => beginnings.some((beginning) => nameOf(shape).startsWith(beginning));
  return suites
    .flatMap((engine) => ([1, 3] as const).map((managers) => ({ engine, managers })))
    .map((swarm) => ({ ...swarm, shapes: kinds.map((kind) => ({ ...swarm, ...kind })).filter(isChosen) }))
    .filter(({ shapes }) => shapes.length > 0);
}
