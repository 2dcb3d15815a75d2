// A repository with a pack of which two kept runs need a small part, and the compaction of it.
import { randomBytes } from "node:crypto";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CompactOptions } from "../../../../shared/repository/open/compact.ts";
import { openAsOperator } from "../../../../shared/repository/open/operator.ts";
import { forgetRuns } from "../../../../shared/repository/upkeep/forget.ts";
import { openDirectory } from "../../../../shared/store/directory.ts";
import type { Place } from "../snapshots.ts";
import { appenderOf, backUpRun, keysOf, keysUnder, makeNode, type Node } from "./repository-of-runs.ts";

export type Whole = Pick<Place, "store" | "made">;

export interface Sparse {
  node: Node;
  packKey: string;
  /** A copy of the store as it was before. */
  copy: (name: string) => Whole & { path: string; remove: () => void };
}

export async function makeSparse(place: Place, id = "node1"): Promise<Sparse> {
  const node = makeNode(place, id);
  const before = new Set(await keysUnder(place.store, "packs/"));
  writeFileSync(join(node.source, "big"), randomBytes(2_500_000));
  writeFileSync(join(node.source, "kept"), randomBytes(600_000));
  const first = await backUpRun(place, node);
  const packKey = (await keysUnder(place.store, "packs/")).find((key) => !before.has(key)) ?? "";
  rmSync(join(node.source, "big"));
  writeFileSync(join(node.source, "small"), "small");
  await backUpRun(place, node);
  await backUpRun(place, node);
  await forgetRuns({ ...appenderOf(place), choose: (all) => all.filter(({ id: each }) => each === first.id) });
  return {
    node,
    packKey,
    copy: (name) => {
      const path = join(place.path, name);
      cpSync(place.storePath, path, { recursive: true });
      const remove = (): void => {
        rmSync(path, { recursive: true });
      };
      return { path, store: openDirectory(path), made: place.made, remove };
    },
  };
}

export async function compactOptions(home: Whole): Promise<CompactOptions> {
  return {
    ...appenderOf(home),
    keys: keysOf(home),
    operator: await openAsOperator(home.store, home.made.identityFile),
    terms: { graceMs: 0, sparseShare: 0.5, maxBytes: Infinity },
    agree: () => Promise.resolve(true),
    exclusive: false,
    signal: new AbortController().signal,
  };
}
