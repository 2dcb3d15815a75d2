// skep restore files --into: what was chosen, put into a volume of a node as it is, each at its own path. The node's agent
// does it, as it restores whole volumes: the identity stays here, and the agent gets the keys of that snapshot alone. With
// --standalone the same job is done on this machine.
import type { ExistingFiles } from "../../shared/contract/chosen-files.ts";
import { SkepError } from "../../shared/errors.ts";
import { entriesBelow } from "../../shared/repository/open/subtree.ts";
import type { Snapshot as OpenedSnapshot } from "../../shared/repository/open/snapshot-reader.ts";
import type { ApiOptions, IdentityOptions } from "./access.ts";
import { withOperator } from "./catalogue-access.ts";
import type { ExitCode } from "./exit-code.ts";
import { withSnapshot } from "./operator-snapshot.ts";
import { restoreSnapshot } from "./restore-in-swarm.ts";
import { parseVolumeAddress, type ChosenOfSnapshot } from "./restore-plan.ts";
import { parseVolumeOfRun, pathUnknown, resolveSnapshot, type RunAddress } from "./run-address.ts";
import type { Session } from "./session.ts";
import type { HostOptions } from "./standalone/host.ts";
import { restoreSnapshotHere } from "./standalone/restore.ts";

export interface IntoOptions extends ApiOptions, IdentityOptions, HostOptions {
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
  if (options.standalone === true && (options.stop === true || options.readCredentials !== undefined)) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "--stop and --read-credentials need a controller, --standalone has none",
      permanent: true,
      hint: "files go into a volume that is in use; --credentials are those that read",
    });
  }
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
    const placed = { ...options, toNode: target.node, as: target.volume };
    const found = { opened, snapshot, chosen };
    if (options.standalone === true) return await restoreSnapshotHere(session, placed, found);
    return await restoreSnapshot(session, placed, found);
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
