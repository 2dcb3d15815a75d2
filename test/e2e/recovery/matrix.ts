// The matrix of the soak of recovery: which swarm burned, in which state it was copied, how it comes back, and who disturbs.
import { createHash } from "node:crypto";
import type { Suite } from "../../lab/apt-sources.ts";

export const sources = {
  three: { engine: "bookworm", nodes: 3 },
  one: { engine: "bookworm", nodes: 1 },
  "one-26": { engine: "trixie", nodes: 1 },
  "three-26": { engine: "trixie", nodes: 3 },
} as const satisfies Record<string, { engine: Suite; nodes: 1 | 3 }>;
export type SourceName = keyof typeof sources;

/** `plain`; `locked`: with autolock; `quiet`: while Skep holds a service. */
export type CopyState = "plain" | "locked" | "quiet";

export interface Cell {
  source: SourceName;
  state: CopyState;
  mode: "raft" | "rebuild";
  /** Fresh ones; all are managers. */
  machines: 1 | 3;
  /** `kills`: SIGKILL of the CLI at every step; `cut`: a machine off the network for a while; `store`: it hangs for a minute. */
  disturbance: "none" | "kills" | "cut" | "store";
  /** Another subnet for a network, and jobs run again. */
  changes: boolean;
}

const usual = { disturbance: "none", changes: false } as const;

export const cells: readonly Cell[] = [
  ...(["three", "three-26"] as const).flatMap((source) =>
    (["raft", "rebuild"] as const).flatMap((mode): Cell[] => [
      { ...usual, source, state: "plain", mode, machines: 3 },
      { ...usual, source, state: "locked", mode, machines: 3 },
    ]),
  ),
  ...(["raft", "rebuild"] as const).flatMap((mode): Cell[] => [
    { ...usual, source: "three", state: "plain", mode, machines: 1 },
    { ...usual, source: "one", state: "plain", mode, machines: 3 },
    { ...usual, source: "one", state: "quiet", mode, machines: 1 },
    ...(["kills", "cut", "store"] as const).map((disturbance): Cell => ({
      ...usual,
      source: "three",
      state: "locked",
      mode,
      machines: 3,
      disturbance,
    })),
  ]),
  { ...usual, source: "one-26", state: "plain", mode: "raft", machines: 1 },
  { ...usual, source: "three", state: "plain", mode: "rebuild", machines: 3, changes: true },
  { ...usual, source: "one", state: "plain", mode: "rebuild", machines: 1, changes: true },
  { ...usual, source: "one", state: "locked", mode: "rebuild", machines: 1, disturbance: "kills" },
];

/** Of which `npm test` tries one: those with few machines, of which no other end-to-end test has the shape. */
const smallCells = cells.filter(({ source, state }) => sources[source].nodes === 1 && state !== "quiet");

/** `wanted`: the name of one, or "" for what the seed says. */
export function sampledCell(wanted: string, seed: number): Cell {
  const [chosen] = ranked(smallCells, seed).filter((cell) => wanted === "" || nameOf(cell) === wanted);
  if (chosen === undefined) throw new RangeError(`no cell of the sample is called ${wanted}`);
  return chosen;
}

/** `three/locked/raft/3`, `three/locked/raft/3/kills`, `three/plain/rebuild/3/changes`. */
export function nameOf({ source, state, mode, machines, disturbance, changes }: Cell): string {
  const more = [...(disturbance === "none" ? [] : [disturbance]), ...(changes ? ["changes"] : [])];
  return [source, state, mode, machines, ...more].join("/");
}

function ranked(some: readonly Cell[], seed: number): Cell[] {
  return some.toSorted((a, b) => (rank(`${seed} ${nameOf(a)}`) < rank(`${seed} ${nameOf(b)}`) ? -1 : 1));
}

function rank(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Those named in `wanted`, commas between, in that order; else all that begin so, the first `count` as the seed says. */
export function chosenCells(wanted: string, seed: number, count: number): Cell[] {
  const named = wanted.split(",").map((name) => cells.find((cell) => nameOf(cell) === name));
  if (named.every((cell) => cell !== undefined)) return named;
  const meant = cells.filter((cell) => nameOf(cell).startsWith(wanted));
  return ranked(meant, seed).slice(0, count);
}

/** A few of the steps, as the seed says; one of them is the swarm's making. */
export function mortalStep(step: string, seed: number): boolean {
  return step === "swarm" || Number.parseInt(rank(`${seed} ${step}`).slice(0, 4), 16) % 4 === 0;
}
