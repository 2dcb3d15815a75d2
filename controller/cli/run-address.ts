// RUN[:NODE/VOLUME[:PATH]], as commands take it: a run, a volume in it, something in that volume. RUN is `latest`, a
// run's id, or the beginning of one id alone.
import { SkepError } from "../../shared/errors.ts";
import type { Catalogue } from "../../shared/repository/catalogue.ts";
import { runIdPattern } from "../../shared/repository/layout.ts";
import { readRuns, type ReadRun, type ReadRunsOptions } from "../../shared/repository/run-chain.ts";
import { readName, showName } from "./entry-name.ts";
import { warnOfForeign } from "./catalogue-access.ts";
import * as format from "./format.ts";
import { findSnapshot, parseVolumeAddress, type Snapshot, type VolumeAddress } from "./restore-plan.ts";
import type { Session } from "./session.ts";

export interface RunAddress {
  /** `latest`, or four characters of an id and more. */
  run: string;
  /** Null where the whole run is meant. */
  volume: VolumeAddress | null;
  /** From the volume's root on, without slashes at its ends; empty for the root. */
  path: Buffer;
}

export const runArgument = "run[:node/volume[:path]]";
/** Of an id, from the year on. */
const runBeginning = /^(\d{4,8}|\d{8}-\d{0,6}|\d{8}-\d{6}-[0-9a-z]{0,6})$/;

/** Throws SKEP_CLI_USAGE. */
export function parseRunAddress(text: string): RunAddress {
  const [run, rest] = cutAtColon(text);
  if (run !== "latest" && !runBeginning.test(run)) {
    throw usage(
      `${JSON.stringify(run)} is no run`,
      "write latest, a run's id such as 20261121-030000-k3v9qd, or its beginning; `skep runs` lists them",
    );
  }
  if (rest === null) return { run, volume: null, path: Buffer.alloc(0) };
  const [volume, path] = cutAtColon(rest);
  return { run, volume: parseVolumeAddress(volume), path: parsePath(path ?? "") };
}

/** As parseRunAddress, of a volume or something in it. */
export function parseVolumeOfRun(text: string): RunAddress & { volume: VolumeAddress } {
  const address = parseRunAddress(text);
  if (address.volume !== null) return { ...address, volume: address.volume };
  throw usage(`${JSON.stringify(text)} names no volume`, "write RUN:NODE/VOLUME, for example latest:node2/pgdata");
}

function cutAtColon(text: string): [before: string, after: string | null] {
  const colon = text.indexOf(":");
  return colon < 0 ? [text, null] : [text.slice(0, colon), text.slice(colon + 1)];
}

function parsePath(text: string): Buffer {
  const segments = text.split("/").filter((segment) => segment !== "" && segment !== ".");
  if (!segments.includes("..")) return readName(segments.join("/"));
  throw usage(
    `${JSON.stringify(text)} leads upwards`,
    "write the path from the volume's root on, for example etc/hosts",
  );
}

function usage(message: string, hint: string): SkepError {
  return new SkepError({ code: "SKEP_CLI_USAGE", message, permanent: true, hint });
}

/** The run that `latest`, an id or its beginning names. Throws SKEP_RUN_UNKNOWN, SKEP_RUN_AMBIGUOUS. */
export async function resolveRun(catalogue: Catalogue, run: string, options: ReadRunsOptions): Promise<ReadRun> {
  const matching: ReadRun[] = [];
  for await (const found of readRuns(catalogue, options)) {
    if (run === "latest" || found.run.id === run) return found;
    if (!runIdPattern.test(run) && found.run.id.startsWith(run)) matching.push(found);
  }
  const [only] = matching;
  if (only === undefined) {
    const { address } = catalogue.store;
    throw new SkepError({
      code: "SKEP_RUN_UNKNOWN",
      message: run === "latest" ? `there is no run at ${address} yet` : `there is no run ${run} at ${address}`,
      permanent: true,
      hint: "`skep runs` lists the runs",
    });
  }
  if (matching.length === 1) return only;
  throw new SkepError({
    code: "SKEP_RUN_AMBIGUOUS",
    message: `${format.plural(matching.length, "run")} begin with ${run}: ${matching
      .slice(0, 5)
      .map(({ run: { id } }) => id)
      .join(", ")}${matching.length > 5 ? ", …" : ""}`,
    permanent: true,
    hint: "write more of the id",
  });
}

/** For readRuns: what does not open is named, and passed over. */
export function passingOver(session: Session): Required<Pick<ReadRunsOptions, "signal" | "onFault">> {
  return { signal: session.signal, onFault: warnOfForeign(session) };
}

/** The volume's snapshot in that run; of `latest`, in the newest run that has one, and says so where that is not the newest. */
export async function resolveSnapshot(
  session: Session,
  catalogue: Catalogue,
  { run, volume }: { run: string; volume: VolumeAddress },
): Promise<Snapshot> {
  const options = passingOver(session);
  const runId = run === "latest" ? null : (await resolveRun(catalogue, run, options)).run.id;
  const snapshot = await findSnapshot(catalogue, volume, runId, options);
  for (const newer of snapshot.passedOver) {
    session.output.warn(`run ${newer.id} is newer, but has no snapshot of ${volume.node}/${volume.volume}`);
  }
  return snapshot;
}

export function pathUnknown(path: Buffer, { root }: { root: { volume: string; runId: string } }): SkepError {
  return new SkepError({
    code: "SKEP_PATH_UNKNOWN",
    message: `there was no ${JSON.stringify(showName(path))} in volume ${root.volume} at run ${root.runId}`,
    permanent: true,
    hint: "paths begin at the volume's root: `skep ls RUN:NODE/VOLUME` shows it",
  });
}
