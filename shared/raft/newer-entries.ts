// What a manager's log has above its commit index. Such an entry may have been acknowledged (this manager was not told any
// more) or never agreed upon: the log alone can't say. A forced new cluster drops them; a rebase keeps them on request.
import { isDeepStrictEqual } from "node:util";
import { engineJson, objectHead } from "./engine-api/objects.ts";
import { Membership } from "./membership.ts";
import { decodeRequest, type ObjectKind, type ObjectStore } from "./object-store.ts";
import { entryType } from "./raft-messages.ts";

export interface EntryChange {
  what: "create" | "update" | "remove" | "membership";
  kind: ObjectKind | "managers";
  id: string;
  /** Empty where the object has none. */
  name: string;
  /** Somebody's order; false: swarm's own notes, such as a node's or a task's state, or addresses that it allocated. */
  ordered: boolean;
}

export interface NewerEntry {
  index: number;
  term: number;
  /** None: the mark of a new leader. */
  changes: EntryChange[];
}

const words = { 1: "create", 2: "update", 3: "remove" } as const;

/** `store`: the objects before the entry, for the names of what it removes. Throws SKEP_RAFT_FORMAT. */
export function describeEntry(
  { index, term, type, plain }: { index: number; term: number; type: number; plain: Uint8Array },
  store: ObjectStore,
): NewerEntry {
  if (type === entryType.confChange) {
    // Throws for what is no change of membership.
    new Membership().apply(plain);
    return { index, term, changes: [{ what: "membership", kind: "managers", id: "", name: "", ordered: true }] };
  }
  if (plain.length === 0) return { index, term, changes: [] };
  const changes = decodeRequest(plain, () => undefined).map(({ what, kind, id, bytes }): EntryChange => {
    const word = words[what as keyof typeof words];
    const former = store.objects[kind].get(id);
    const named = word === "remove" ? (former ?? bytes) : bytes;
    return { what: word, kind, id, name: objectHead(kind, named).name, ordered: isOrdered(word, kind, former, bytes) };
  });
  return { index, term, changes };
}

function isOrdered(word: string, kind: ObjectKind, former: Uint8Array | undefined, bytes: Uint8Array): boolean {
  if (kind === "task") return false;
  if (word !== "update" || former === undefined) return true;
  // No order changes a network; the allocator does.
  if (kind === "network") return false;
  if (kind !== "node" && kind !== "service") return true;
  // Not as bytes: swarm writes the labels of a spec in another order each time.
  const spec = (of: Uint8Array): unknown => engineJson(kind, of, false)["Spec"];
  return !isDeepStrictEqual(spec(former), spec(bytes));
}
