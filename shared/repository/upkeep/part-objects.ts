// Every object that a part names, but for the pages of its refs, which the refs name.
import type { Part, StoredObject } from "../run.ts";

export function objectsOfPart({ archive, manifest, refs }: Part): StoredObject[] {
  return [...(archive ?? []), ...(manifest === undefined ? [] : [manifest]), ...(refs === undefined ? [] : [refs])];
}
