// The door to a swarm's Raft state: from a directory, an archive or a copy to the objects in it.
import { SkepError } from "../errors.ts";
import { engineJson, objectHead, type ObjectHead } from "./engine-api/objects.ts";
import type { Json } from "./engine-api/values.ts";
import type { ObjectKind } from "./object-store.ts";
import type { RaftProof } from "./proof.ts";
import { readSwarm, type ReadOptions, type SwarmState } from "./read-swarm.ts";
import type { SwarmFiles } from "./swarm-files.ts";

export interface OpenedSwarm {
  proof: RaftProof;
  warnings: string[];
  state: SwarmState;
  /** All objects of a kind, by name, then id. */
  list(kind: ObjectKind): ObjectHead[];
  /**
   * One object as Engine-API JSON, by id, by name, or by an id's beginning; null where there is none. Throws
   * SKEP_RAFT_AMBIGUOUS where several have the name. With `reveal` secrets come with their data.
   */
  get(kind: ObjectKind, idOrName: string, reveal: boolean): Json | null;
}

/** Throws as readSwarm does. */
export async function openSwarm(files: SwarmFiles, options: ReadOptions = {}): Promise<OpenedSwarm> {
  const state = await readSwarm(files, options);
  return {
    proof: state.proof,
    warnings: state.warnings,
    state,
    list: (kind) => listObjects(state, kind),
    get(kind, idOrName, reveal) {
      const id = findObject(state, kind, idOrName);
      const bytes = id === null ? undefined : state.store.objects[kind].get(id);
      return bytes === undefined ? null : engineJson(kind, bytes, reveal);
    },
  };
}

export function listObjects(state: SwarmState, kind: ObjectKind): ObjectHead[] {
  return [...state.store.objects[kind].values()]
    .map((bytes) => objectHead(kind, bytes))
    .sort((a, b) => compare(a.name, b.name) || compare(a.id, b.id));
}

function findObject(state: SwarmState, kind: ObjectKind, idOrName: string): string | null {
  if (state.store.objects[kind].has(idOrName)) return idOrName;
  const heads = listObjects(state, kind);
  const named = heads.filter(({ name }) => name === idOrName);
  const found = named.length > 0 ? named : heads.filter(({ id }) => id.startsWith(idOrName));
  if (found.length > 1) {
    throw new SkepError({
      code: "SKEP_RAFT_AMBIGUOUS",
      message: `${found.length} objects of kind ${kind} go by ${idOrName}`,
      permanent: true,
      hint: `name one by its id: ${found
        .slice(0, 5)
        .map(({ id }) => id)
        .join(", ")}`,
    });
  }
  return found[0]?.id ?? null;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
