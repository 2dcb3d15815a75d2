// When each part of the cluster was last taken whole, from the runs that are written. A cache of the chain.
import type { Part, Run } from "../shared/repository/run.ts";

const kinds: ReadonlySet<Part["kind"]> = new Set(["raft", "volume", "dump"]);
/** A volume of which no run of so long had anything is gone. */
const keptMs = 30 * 24 * 3_600_000;

export interface LastSuccess {
  kind: Part["kind"];
  /** As the part's: `raft`, or HOSTNAME/NAME. */
  name: string;
  /** ms since 1970. */
  at: number;
}

export class LastSuccesses {
  readonly #found = new Map<string, LastSuccess>();
  #newestAt = 0;

  /** In any order. */
  add(run: Pick<Run, "endedAt" | "parts">): void {
    this.#newestAt = Math.max(this.#newestAt, Date.parse(run.endedAt));
    for (const { kind, name, status, endedAt } of run.parts) {
      if (!kinds.has(kind) || status !== "done") continue;
      const key = `${kind} ${name}`;
      const at = Date.parse(endedAt);
      if (at > (this.#found.get(key)?.at ?? 0)) this.#found.set(key, { kind, name, at });
    }
    for (const [key, { at }] of this.#found) if (at < this.#newestAt - keptMs) this.#found.delete(key);
  }

  /** By name. */
  list(): LastSuccess[] {
    return [...this.#found.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  }
}
