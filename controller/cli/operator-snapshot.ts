// A volume's snapshot, opened with the identity for a command that looks into it: packs' headers are read as they are
// needed, so that a listing fetches little more than the manifest.
import { snapshotKeys } from "../../shared/repository/open/file-keys.ts";
import type { Operator } from "../../shared/repository/open/operator.ts";
import { openSnapshot } from "../../shared/repository/open/snapshot-reader.ts";
import type { Snapshot as OpenedSnapshot } from "../../shared/repository/open/snapshot-reader.ts";
import type { Part } from "../../shared/repository/run.ts";
import type { OpenedCatalogue } from "./catalogue-access.ts";

export type OpenedOperator = OpenedCatalogue & { operator: Operator };

/** For as long as `use` takes. Throws what openSnapshot throws. */
export async function withSnapshot<T>(
  { store, operator }: OpenedOperator,
  { part }: { part: Part },
  signal: AbortSignal,
  use: (snapshot: OpenedSnapshot) => Promise<T>,
): Promise<T> {
  const keys = await snapshotKeys(store, operator, part, signal);
  const { manifest, refs } = part;
  if (manifest === undefined || refs === undefined) throw new TypeError("a snapshot without manifest or refs");
  const { repositoryId } = operator.repositoryObject;
  const opened = await openSnapshot({ store, repositoryId, writerId: part.nodeId, manifest, refs, keys, signal });
  try {
    return await use(opened);
  } finally {
    opened.close();
  }
}
