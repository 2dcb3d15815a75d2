// Which stored setups a machine is compared with: those of the nodes whose place it takes, from the run of the Raft copy.
import { SkepError } from "../../../shared/errors.ts";
import { readArchive } from "../../../shared/repository/open/archive-reader.ts";
import type { Operator } from "../../../shared/repository/open/operator.ts";
import type { Run } from "../../../shared/repository/run.ts";
import type { Store } from "../../../shared/store/store.ts";
import { readStoredSetup, type StoredSetup } from "./stored-setup.ts";

/** By node id; of nodes whose facts the run has. What does not open is told, and stops nothing: a recovery needs it not. */
export async function readStoredSetups(
  store: Store,
  operator: Operator,
  { parts }: Pick<Run, "parts">,
  { signal, onFault }: { signal: AbortSignal; onFault: (fault: SkepError, key: string) => void },
): Promise<Map<string, StoredSetup>> {
  const setups = new Map<string, StoredSetup>();
  for (const { kind, nodeId, hostname, archive, epoch } of parts) {
    if (kind !== "node" || archive === undefined || epoch === undefined) continue;
    try {
      const files = readArchive({ store, archive, identity: await operator.epochIdentity(epoch), signal });
      setups.set(nodeId, await readStoredSetup({ nodeId, hostname }, files));
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof SkepError)) throw error;
      onFault(error, archive[0]?.key ?? hostname);
    }
  }
  return setups;
}

export function storedSetupsFor(
  { replaces }: { replaces: readonly { id: string }[] },
  setups: ReadonlyMap<string, StoredSetup>,
): StoredSetup[] {
  return replaces.flatMap(({ id }) => setups.get(id) ?? []);
}

export function setupPaths(stored: readonly StoredSetup[]): string[] {
  return [...new Set(stored.flatMap(({ files }) => files.map(({ path }) => path)))];
}
