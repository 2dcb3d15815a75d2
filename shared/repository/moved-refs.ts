// What a compaction replaced: runs are signed and never change, so an upkeep entry says which refs object counts in the
// place of one that a run names. The chunks are the same ones; they stand in other packs.
import { z } from "zod";
import { storedObjectSchema, type Part, type Run } from "./run.ts";

export const movedRefsSchema = z.strictObject({
  /** As the run itself names it: `refs/RUN/ID`. */
  from: z.string().regex(/^refs\/\d{8}-\d{6}-[0-9a-z]{6}\/[0-9a-f]{32}$/),
  to: storedObjectSchema,
  /** When that was said, by the clock of the store: who read a run before may read what was replaced for a grace longer. */
  since: z.iso.datetime(),
});
export type MovedRefs = z.infer<typeof movedRefsSchema>;

/** Of the key `refs/RUN/ID`. */
export function runIdOfRefs(key: string): string {
  return key.split("/")[1] ?? "";
}

/** The run with the refs that count now. */
export function applyMovedRefs(run: Run, moved: ReadonlyMap<string, MovedRefs>): Run {
  if (moved.size === 0) return run;
  const replaced = ({ refs }: Part): MovedRefs | undefined => (refs === undefined ? undefined : moved.get(refs.key));
  if (!run.parts.some((part) => replaced(part) !== undefined)) return run;
  const parts = run.parts.map((part) => {
    const found = replaced(part);
    return found === undefined ? part : { ...part, refs: found.to };
  });
  return { ...run, parts };
}
