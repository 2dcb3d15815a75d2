// What came of the quiet that a run ordered, laid to the parts that it was ordered for: what was stopped or paused and
// for how long, which commands ran, and why a part that should have been quiet was not.
import type { TaskKind, TaskResultOf } from "../shared/contract/job.ts";
import type { ErrorRecord } from "../shared/errors.ts";
import type { Part } from "../shared/repository/run.ts";
import type { Outcome, VolumeJob } from "./run-plan.ts";
import { quietOf, type QuietUnit } from "./quiet-units.ts";

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
  faults: ErrorRecord[];
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
    for (const id of unit.members) change(id, (part, job) => withResult(part, job, result));
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
  for (const { nodeId, pauseId, unpauseId } of nodes) {
    take(open(pauseId, "pause", nodeId), ({ commands }) => result.commands.push(...commands));
    take(open(unpauseId, "unpause", nodeId), ({ quiet, commands }) => {
      result.commands.push(...commands);
      result.quiet.push(...quiet);
    });
  }
  if (hold === null) return result;
  take(open(hold.holdId, "hold", null), ({ skipped }) => result.skipped.push(...skipped));
  take(open(hold.releaseId, "release", null), ({ quiet }) => {
    result.quiet.push(...quiet.map(({ service, quietMs }) => ({ name: service, how: "stop" as const, quietMs })));
  });
  return result;
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
      ? skipped.find(({ serviceId }) => job.users.some((user) => user.serviceId === serviceId))
      : undefined;
  const error = left === undefined ? faults[0] : notStopped(left);
  if (error === undefined || part.status === "failed") return laid;
  // Why it was not made quiet says more than that it was not.
  const isOpen = part.error === undefined || part.error.code === "SKEP_QUIET_BROKEN";
  return { ...laid, status: "partial", error: isOpen ? error : part.error };
}

function notStopped({ name, message }: TaskResultOf<"hold">["skipped"][number]): ErrorRecord {
  return {
    code: "SKEP_HOLD_REFUSED",
    message: `service ${name} was not stopped for the backup: ${message}`,
    permanent: true,
    hint: "pin it to the node of its volume, or pause it instead: skep.quiesce=pause",
  };
}

function withFaultyWords(part: Part, { faults }: VolumeJob): Part {
  if (faults.length === 0 || part.status !== "done") return part;
  const error: ErrorRecord = {
    code: "SKEP_LABEL_INVALID",
    message: `it was taken without the words that were not understood: ${faults.join("; ")}`.slice(0, 16_384),
    permanent: true,
    hint: "docs/CONSISTENCY.md tells the words; correct the labels",
  };
  return { ...part, status: "partial", error };
}
