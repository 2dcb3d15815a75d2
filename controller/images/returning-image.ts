// What becomes of an engine to which one image of a run returns: whether it is loaded, and which names it gets. Pure.
import { loadedName, parseReference } from "../../shared/image-reference.ts";
import type { ImageFacts } from "../../shared/repository/run.ts";

/** What is done where a name stands for another image already. */
export type ExistingName = "fail" | "skip" | "update";

export interface ReturningName {
  /** `shop:1`, as the engine will know it. */
  name: string;
  /** What services call it that name a digest, which a load can't give; null where the name is theirs. */
  standsFor: string | null;
  /** `give`: nobody has it. `keep`: it is so. The other two: it is another image's. */
  action: "give" | "keep" | "leave" | "move";
  /** The id of the image that has the name; null where none has. */
  now: string | null;
}

export interface ReturningImage {
  isPresent: boolean;
  names: ReturningName[];
  /** Names that stand for another image, where that stops everything. */
  conflicts: string[];
}

/** The names to look up on the engine before the plan. */
export function namesToAsk({ id, names }: Pick<ImageFacts, "id" | "names">): string[] {
  return [id, ...names, ...names.flatMap((name) => givenName(name)?.name ?? [])];
}

/** `present`: ids by name, of those of namesToAsk that the engine knows. */
export function planImage(
  { id, names }: Pick<ImageFacts, "id" | "names">,
  present: ReadonlyMap<string, string>,
  existing: ExistingName,
): ReturningImage {
  const planned = new Map<string, ReturningName>();
  for (const asked of names) {
    const given = givenName(asked);
    // An engine that has it by that digest is in need of no other name.
    if (given === null || planned.has(given.name)) continue;
    if (given.standsFor !== null && present.get(asked) === id) continue;
    const now = present.get(given.name) ?? null;
    const other = existing === "update" ? "move" : "leave";
    planned.set(given.name, { ...given, now, action: now === null ? "give" : now === id ? "keep" : other });
  }
  const all = [...planned.values()];
  const taken = all.filter(({ action }) => action === "leave" || action === "move").map(({ name }) => name);
  return { isPresent: present.has(id), names: all, conflicts: existing === "fail" ? taken : [] };
}

/** Null for what is no name: an id. */
function givenName(text: string): Pick<ReturningName, "name" | "standsFor"> | null {
  const reference = parseReference(text);
  if (reference === null) return null;
  if (reference.digest !== null) return { name: loadedName(reference), standsFor: text };
  return { name: `${reference.repository}:${reference.tag ?? "latest"}`, standsFor: null };
}

/** As the engine's call takes it. */
export function splitName(name: string): { repository: string; tag: string } {
  const at = name.lastIndexOf(":");
  return { repository: name.slice(0, at), tag: name.slice(at + 1) };
}
