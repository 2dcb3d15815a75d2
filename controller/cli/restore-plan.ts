// What a restore will do, before it does it: which snapshot, from which run, and what happens to what is there now.
import type { ExistingFiles } from "../../shared/contract/chosen-files.ts";
import { SkepError } from "../../shared/errors.ts";
import type { Catalogue } from "../../shared/repository/catalogue.ts";
import { volumeNameSchema, type ContainerCommand } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { readRuns } from "../../shared/repository/run-chain.ts";
import type { Part, Run, VolumeFacts } from "../../shared/repository/run.ts";
import type { RestorePlanDocument } from "./restore-documents.ts";
import { showName } from "./entry-name.ts";
import * as format from "./format.ts";
import type { Output } from "./output.ts";
import { facts } from "./table.ts";

/** NODE/NAME; NODE is a hostname or a node's id as the run has it. */
export interface VolumeAddress {
  node: string;
  volume: string;
}

export function parseVolumeAddress(text: string): VolumeAddress {
  const slash = text.indexOf("/");
  const [node, volume] = [text.slice(0, slash), text.slice(slash + 1)];
  if (slash > 0 && volumeNameSchema.safeParse(volume).success) return { node, volume };
  throw new SkepError({
    code: "SKEP_CLI_USAGE",
    message: `${JSON.stringify(text)} names no volume`,
    permanent: true,
    hint: "write NODE/NAME, for example node2/pgdata; `skep show latest` lists the volumes",
  });
}

export interface Snapshot {
  run: Run;
  part: Part & { volume: VolumeFacts };
  /** Newer runs that name the volume and have no snapshot of it. */
  passedOver: Run[];
}

/** Paths of the snapshot that go into the volume as it is. */
export interface ChosenOfSnapshot {
  paths: { path: Buffer; files: number; sourceBytes: number }[];
  existing: ExistingFiles;
}

/** The volume in one run, or in the newest that has it. Throws SKEP_RUN_UNKNOWN, SKEP_RESTORE_NO_SNAPSHOT. */
export async function findSnapshot(
  catalogue: Catalogue,
  address: VolumeAddress,
  runId: string | null,
  options: { signal: AbortSignal; onFault: (fault: SkepError, key: string) => void },
): Promise<Snapshot> {
  const passedOver: Run[] = [];
  let seen = 0;
  for await (const { run } of readRuns(catalogue, options)) {
    seen++;
    if (runId !== null && run.id !== runId) continue;
    const part = run.parts.find((candidate) => isOf(candidate, address));
    if (part?.manifest !== undefined && part.volume !== undefined) {
      return { run, part: { ...part, volume: part.volume }, passedOver };
    }
    if (runId !== null) throw noSnapshot(address, run, part);
    if (part !== undefined) passedOver.push(run);
  }
  if (runId !== null) {
    throw new SkepError({
      code: "SKEP_RUN_UNKNOWN",
      message: `there is no run ${runId} at ${catalogue.store.address}`,
      permanent: true,
      hint: "`skep runs` lists the runs",
    });
  }
  throw new SkepError({
    code: "SKEP_RESTORE_NO_SNAPSHOT",
    message: `none of ${format.plural(seen, "run")} at ${catalogue.store.address} has a snapshot of ${address.node}/${address.volume}`,
    permanent: true,
    hint: "`skep show RUN` lists what a run has, and why something is missing",
  });
}

function isOf(part: Part, { node, volume }: VolumeAddress): boolean {
  const isKind = part.kind === "volume" || part.kind === "dump";
  return isKind && part.volume?.name === volume && (part.hostname === node || part.nodeId === node);
}

function noSnapshot({ node, volume }: VolumeAddress, run: Run, part: Part | undefined): SkepError {
  return new SkepError({
    code: "SKEP_RESTORE_NO_SNAPSHOT",
    message: `run ${run.id} has no snapshot of ${node}/${volume}${part?.error === undefined ? "" : `: ${part.error.message}`}`,
    permanent: true,
    hint: "leave --run away to take the newest run that has one",
  });
}

/** Plain bytes that the restore will write. */
export function sourceBytesOf({ part }: Snapshot): number {
  return part.totals?.sourceBytes ?? 0;
}

export function planDocument(
  { run, part }: Snapshot,
  to: { nodeId: string; hostname: string; targetName: string },
  prepared: TaskResultOf<"restore-prepare">,
  { stop, load, chosen }: { stop: boolean; load: ContainerCommand | null; chosen: ChosenOfSnapshot | null },
): RestorePlanDocument {
  const sum = (of: "files" | "sourceBytes"): number => (chosen?.paths ?? []).reduce((all, each) => all + each[of], 0);
  return {
    runId: run.id,
    takenAt: part.startedAt,
    source: { nodeId: part.nodeId, hostname: part.hostname, volume: part.volume.name },
    target: {
      nodeId: to.nodeId,
      hostname: to.hostname,
      targetName: to.targetName,
      exists: prepared.target === "exists",
    },
    files: chosen === null ? (part.totals?.files ?? 0) : sum("files"),
    sourceBytes: chosen === null ? (part.totals?.sourceBytes ?? 0) : sum("sourceBytes"),
    freeBytes: prepared.freeBytes,
    usedBy: prepared.usedBy.map(({ container }) => container),
    stop,
    load: load === null ? null : { container: prepared.loadsIn ?? "", argv: load.argv },
    whole: part.status === "done",
    ...(chosen !== null && {
      existing: chosen.existing,
      chosen: chosen.paths.map(({ path, files, sourceBytes }, at) => ({
        ...{ path: showName(path), files, sourceBytes, there: prepared.there?.[at] ?? "nothing" },
      })),
    }),
  };
}

/** `now` in ms since 1970; `style` is that of the stream it goes to. */
export function renderPlan(style: Output["style"], plan: RestorePlanDocument, now: number): string {
  const { source, target, load, chosen, existing } = plan;
  if (chosen !== undefined && existing !== undefined) return renderFilesPlan(style, plan, chosen, existing, now);
  const beware = plan.whole
    ? []
    : ([["beware", "this snapshot is not whole: `skep show` tells what it lacks"]] as const);
  const from = [
    ["restore", `${source.hostname}/${source.volume}${load === null ? "" : ", its dump"}`],
    ["from", `run ${plan.runId}, taken ${format.time(plan.takenAt)}, ${format.age(plan.takenAt, now)}`],
  ] as const;
  if (load !== null) {
    return facts(style, [
      ...from,
      ["into", `container ${load.container} on ${target.hostname}, while it runs`],
      ["by", format.visible(load.argv.join(" "))],
      ["size", `${format.bytes(plan.sourceBytes)} on its standard input`],
      ["what is there", "changes as that command will have it: nothing of it is kept, and no undo brings it back"],
      ...beware,
    ]);
  }
  const after = target.exists
    ? "kept beside it, until `skep restore discard`; `skep restore undo` puts it back"
    : "there is none: the volume will be made";
  const users = plan.usedBy.length === 0 ? "nobody" : plan.usedBy.join(", ");
  return facts(style, [
    ...from,
    ["to", `volume ${target.targetName} on ${target.hostname}`],
    [
      "size",
      `${format.bytes(plan.sourceBytes)} in ${format.plural(plan.files, "file")}; ${format.bytes(plan.freeBytes)} are free`,
    ],
    ["used by", plan.stop && plan.usedBy.length > 0 ? `${users}: their services are held, then released` : users],
    ["what is there", after],
    ...beware,
  ]);
}

const becomes: Record<ExistingFiles, string> = {
  fail: "if a file there differs, nothing is changed at all",
  skip: "files that are there stay as they are",
  update:
    "files that differ are replaced, and kept beside, until `skep restore discard`; `skep restore undo` puts them back",
};

function renderFilesPlan(
  style: Output["style"],
  plan: RestorePlanDocument,
  chosen: NonNullable<RestorePlanDocument["chosen"]>,
  existing: ExistingFiles,
  now: number,
): string {
  const { source, target } = plan;
  const users = plan.usedBy.length === 0 ? "nobody" : plan.usedBy.join(", ");
  const held = plan.stop ? ": their services are held, then released" : ": they go on";
  return facts(style, [
    [
      "from",
      `${source.hostname}/${source.volume}, run ${plan.runId}, taken ${format.time(plan.takenAt)}, ${format.age(plan.takenAt, now)}`,
    ],
    ["into", `volume ${target.targetName} on ${target.hostname}, as it is; ${format.bytes(plan.freeBytes)} are free`],
    ...chosen.map(({ path, files, sourceBytes, there }): [string, string] => [
      "put",
      `${path === "" ? "all of it" : path}: ${format.bytes(sourceBytes)} in ${format.plural(files, "file")}; ${there === "nothing" ? "nothing is" : there === "other" ? "something else is" : `a ${there} is`} there`,
    ]),
    ["what is there", becomes[existing]],
    ["used by", plan.usedBy.length === 0 ? users : `${users}${held}`],
    ...(plan.whole ? [] : ([["beware", "this snapshot is not whole: `skep show` tells what it lacks"]] as const)),
  ]);
}

/** What is asked before it is done. */
export function restoreQuestion({ target, load, chosen }: RestorePlanDocument): string {
  if (load !== null) return `Load the dump into container ${load.container} on ${target.hostname}?`;
  const what = chosen === undefined ? "Restore volume" : "Put these files into volume";
  return `${what} ${target.targetName} on ${target.hostname}?`;
}

/** `stop`: may services be held? Null where there is no controller that could. A dump wants its server to run. Throws SKEP_RESTORE_VOLUME_IN_USE. */
export function refuseWhileUsed(
  { usedBy, loadsIn }: TaskResultOf<"restore-prepare">,
  volume: string,
  stop: boolean | null,
): void {
  if (loadsIn !== undefined) return;
  const inTheWay = stop === true ? usedBy.filter(({ serviceId }) => serviceId === null) : usedBy;
  if (inTheWay.length === 0) return;
  const canBeHeld = stop === false && usedBy.every(({ serviceId }) => serviceId !== null);
  throw new SkepError({
    code: "SKEP_RESTORE_VOLUME_IN_USE",
    message: `volume ${volume} is in use by ${inTheWay.map(({ container }) => container).join(", ")}`,
    permanent: true,
    hint: canBeHeld
      ? "add --stop: the services are held while the volume is restored, and released afterwards"
      : "stop these containers, or restore beside with --as NEWNAME",
  });
}
