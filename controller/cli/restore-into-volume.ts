// skep restore files --into: what was chosen, put into a volume of a node as it is, each at its own path. The node's agent
// does it, as it restores whole volumes: the identity stays here, and the agent gets the keys of that snapshot alone.
import type { ExistingFiles } from "../../shared/contract/chosen-files.ts";
import { SkepError } from "../../shared/errors.ts";
import { entriesBelow } from "../../shared/repository/open/subtree.ts";
import type { Snapshot as OpenedSnapshot } from "../../shared/repository/open/snapshot-reader.ts";
import type { ApiOptions, IdentityOptions, StoreOptions } from "./access.ts";
import { withOperator } from "./catalogue-access.ts";
import type { ExitCode } from "./exit-code.ts";
import { withSnapshot } from "./operator-snapshot.ts";
import { restoreSnapshot } from "./restore-in-swarm.ts";
import { parseVolumeAddress, type ChosenOfSnapshot } from "./restore-plan.ts";
import { parseVolumeOfRun, pathUnknown, resolveSnapshot, type RunAddress } from "./run-address.ts";
import type { Session } from "./session.ts";

export interface IntoOptions extends StoreOptions, ApiOptions, IdentityOptions {
  /** NODE/VOLUME. */
  into: string;
  existing: ExistingFiles;
  stop?: boolean;
  readCredentials?: string;
  yes?: boolean;
}

export async function restoreIntoVolume(
  session: Session,
  options: IntoOptions,
  given: readonly string[],
): Promise<ExitCode> {
  const target = parseVolumeAddress(options.into);
  const addresses = given.map(parseVolumeOfRun);
  const [first] = addresses;
  if (first === undefined || addresses.some((each) => sourceOf(each) !== sourceOf(first))) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "what goes into a volume at once is of one run and one volume",
      permanent: true,
      hint: "write RUN:NODE/VOLUME the same before each path; give the command once for each other one",
    });
  }
  return await withOperator(session, options, async (opened) => {
    const snapshot = await resolveSnapshot(session, opened.catalogue, first);
    const chosen = await withSnapshot(opened, snapshot, session.signal, (found) =>
      measure(found, addresses, options.existing),
    );
    const places = { toNode: target.node, as: target.volume };
    return await restoreSnapshot(session, { ...options, ...places }, { opened, snapshot, chosen });
  });
}

function sourceOf({ run, volume }: RunAddress): string {
  return `${run}:${volume?.node ?? ""}/${volume?.volume ?? ""}`;
}

/** Throws SKEP_PATH_UNKNOWN. */
async function measure(
  snapshot: OpenedSnapshot,
  addresses: readonly RunAddress[],
  existing: ExistingFiles,
): Promise<ChosenOfSnapshot> {
  const paths: ChosenOfSnapshot["paths"] = [];
  for (const { path } of addresses) {
    const one = { path, files: 0, sourceBytes: 0 };
    let isThere = false;
    for await (const { type, sizeBytes = 0 } of entriesBelow(snapshot, path)) {
      isThere = true;
      if (type !== "directory") one.files++;
      one.sourceBytes += sizeBytes;
    }
    if (!isThere) throw pathUnknown(path, snapshot);
    paths.push(one);
  }
  return { paths, existing };
}
