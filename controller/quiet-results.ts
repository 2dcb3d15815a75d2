// What came of the quiet that a run ordered, laid to the parts that it was ordered for: what was stopped or paused and
// for how long, which commands ran, and why a part that should have been quiet was not.
import type { TaskKind } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import type { ErrorRecord } from "../shared/errors.ts";
import type { Part } from "../shared/repository/run.ts";
import type { Outcome, VolumeJob } from "./run-plan.ts";
import { quietOf, servicesOf, type QuietUnit } from "./quiet-units.ts";
import type { ShareWatch } from "./share-watch.ts";

/** Opens a child's outcome, as its agent sealed it; null where it has not ended. */
export type OpenChild = <K extends TaskKind>(
  id: string,
  kind: K,
  nodeId: string | null,
) => Outcome<TaskResultOf<K>> | null;

interface UnitResult {
  quiet: NonNullable<Part["quiet"]>;
  commands: NonNullable<Part["commands"]>;
  /** Of the whole unit; the first one counts. */
  faults: NonNullable<Part["error"]>[];
  skipped: TaskResultOf<"hold">["skipped"];
}

export function layQuiet(
  units: readonly QuietUnit[],
  jobs: ReadonlyMap<string, VolumeJob>,
  volumes: ReadonlyMap<string, Outcome<Part>>,
  open: OpenChild,
): Map<string, Outcome<Part>> {
  const laid = new Map(volumes);
  const change = (id: string, by: (part: Part, job: VolumeJob) => Part): void => {
    const outcome = laid.get(id);
    const job = jobs.get(id);
    if (outcome?.state === "done" && job !== undefined)
      laid.set(id, { state: "done", result: by(outcome.result, job) });
  };
  for (const unit of units) {
    const result = resultOf(unit, open);
    for (const id of unit.members)
      change(id, (part, job) => withResult(withProof(part, job, unit.watches, open), job, result));
  }
  for (const id of jobs.keys()) change(id, withFaultyWords);
  return laid;
}

function resultOf({ nodes, hold }: QuietUnit, open: OpenChild): UnitResult {
  const result: UnitResult = { quiet: [], commands: [], faults: [], skipped: [] };
  const take = <R>(outcome: Outcome<R> | null, by: (result: R) => void): void => {
    if (outcome?.state === "done") by(outcome.result);
    else if (outcome !== null) result.faults.push(outcome.failure.error);
  };
  const ran = ({ commands, fault }: Pick<TaskResultOf<"unpause">, "commands" | "fault">): void => {
    result.commands.push(...commands);
    if (fault !== undefined) result.faults.push(fault);
  };
  for (const { nodeId, pauseId, unpauseId, afterId } of nodes) {
    take(open(pauseId, "pause", nodeId), ran);
    take(open(unpauseId, "unpause", nodeId), (unpaused) => {
      ran(unpaused);
      result.quiet.push(...unpaused.quiet);
    });
    if (afterId !== null) take(open(afterId, "unpause", nodeId), ran);
  }
  if (hold === null) return result;
  take(open(hold.holdId, "hold", null), ({ skipped }) => result.skipped.push(...skipped));
  take(open(hold.releaseId, "release", null), ({ quiet }) => {
    result.quiet.push(...quiet.map(({ service, quietMs }) => ({ name: service, how: "stop" as const, quietMs })));
  });
  return result;
}

/** A part that its node found quiet stays so where each of the nodes that share the volume says the same. */
function withProof(part: Part, job: VolumeJob, watches: readonly ShareWatch[], open: OpenChild): Part {
  if (part.consistency !== "quiet") return part;
  const why = breachOf(job, watches, open);
  if (why === null) return part;
  const error: NonNullable<Part["error"]> = {
    code: "SKEP_QUIET_BROKEN",
    message: `volume ${job.volume.name} is shared, and was not quiet on all nodes while it was read: ${why}`.slice(
      0,
      16_384,
    ),
    permanent: false,
    hint: "it was taken as it was, which may mix states; see what runs on it there, and whether each node has its agent",
  };
  return { ...part, status: "partial", consistency: "not-atomic", error: part.error ?? error };
}

/** Null where there is none. */
function breachOf(
  { nodeId, views, unasked }: VolumeJob,
  watches: readonly ShareWatch[],
  open: OpenChild,
): string | null {
  for (const view of views) {
    if (view.nodeId === nodeId) continue;
    const watch = watches.find((each) => each.nodeId === view.nodeId);
    const proof = watch === undefined ? null : open(watch.proveId, "prove", view.nodeId);
    if (proof === null) return `${view.hostname} did not tell`;
    if (proof.state === "failed") return `${view.hostname} could not tell: ${proof.failure.error.message}`;
    const broken = proof.result.broken.find(({ volume }) => volume === view.name);
    if (broken !== undefined) return `${broken.why}, on ${view.hostname}`;
  }
  if (unasked === null) {
    return "which other nodes the swarm has is not known, as its definitions could not be read";
  }
  return unasked.length === 0 ? null : `what used it on ${unasked.join(", ")} is not known`;
}

const most = 1000;

function withResult(part: Part, job: VolumeJob, { quiet, commands, faults, skipped }: UnitResult): Part {
  const laid: Part = {
    ...part,
    ...(quiet.length === 0 ? {} : { quiet }),
    ...(commands.length === 0 ? {} : { commands: [...(part.commands ?? []), ...commands].slice(0, most) }),
  };
  const left =
    quietOf(job) === "stop"
      ? skipped.find(({ serviceId }) => servicesOf(job).some((service) => service.serviceId === serviceId))
      : undefined;
  const error = left === undefined ? faults[0] : notStopped(left);
  // Why it was not made quiet says more than that it was not.
  const isOpen = part.error === undefined || part.error.code === "SKEP_QUIET_BROKEN";
  const said = part.status === "failed" || !isOpen ? part.error : error;
  // What stands still has to be told, whatever else there is to say.
  const standing = faults.filter((fault) => standsStill.has(fault.code) && fault !== said);
  const told = withWarnings(laid, standing);
  return error === undefined || part.status === "failed" ? told : { ...told, status: "partial", error: said };
}

const standsStill: ReadonlySet<string> = new Set(["SKEP_HOLD_STUCK", "SKEP_START_FAILED"]);

function withWarnings(part: Part, faults: UnitResult["faults"]): Part {
  if (faults.length === 0) return part;
  const all = [...part.warnings, ...faults.map(({ code, message }) => ({ code, message }))];
  const leftOut = Math.max(0, all.length - most);
  return { ...part, warnings: all.slice(0, most), warningsLeftOut: part.warningsLeftOut + leftOut };
}

function notStopped({ name, reason, message }: TaskResultOf<"hold">["skipped"][number]): ErrorRecord {
  return {
    code: "SKEP_HOLD_REFUSED",
    message: `service ${name} was not stopped for the backup: ${message}`,
    permanent: true,
    hint:
      reason === "held"
        ? "once that is over, the next run takes it quiet"
        : "pin it to the node of its volume, or pause it instead: skep.quiesce=pause",
  };
}

function withFaultyWords(part: Part, { faults }: VolumeJob): Part {
  if (faults.length === 0 || part.status !== "done") return part;
  const error: ErrorRecord = {
    code: "SKEP_LABEL_INVALID",
    message: `what is said of how it is to be taken is not clear: ${faults.join("; ")}`.slice(0, 16_384),
    permanent: true,
    hint: "docs/CONSISTENCY.md tells the words; correct the labels, or say it in the policy",
  };
  return { ...part, status: "partial", error };
}
