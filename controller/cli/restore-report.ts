// The last words of a restore: what was done, and how to undo it or to make it final.
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import type { Restore } from "../api/schemas.ts";
import type { RestoreDocument, RestoreEndDocument, RestorePlanDocument } from "./restore-documents.ts";
import { exitCodes, type ExitCode } from "./exit-code.ts";
import * as format from "./format.ts";
import type { Output } from "./output.ts";

/** `flags`: what undo and discard need to be told again, e.g. " --standalone". */
export function reportRestore(
  output: Output,
  restoreId: string,
  plan: RestorePlanDocument,
  result: TaskResultOf<"restore-volume" | "restore-load"> | null,
  flags: string,
): ExitCode {
  const document: RestoreDocument = { restoreId, plan, result };
  output.document(document);
  if (result === null) {
    output.say("nothing was changed");
    return exitCodes.done;
  }
  const { target } = plan;
  if (result.kind === "restore-load") {
    const { container, stderr } = result.command;
    output.print(
      `the dump of ${plan.source.hostname}/${plan.source.volume} of run ${plan.runId} is loaded: ` +
        `${format.bytes(result.loadedBytes)} into ${format.visible(container)} on ${target.hostname}`,
    );
    if (stderr.trim() !== "") {
      output.say("The command ended with 0. What it wrote last to stderr:");
      for (const line of stderr.trimEnd().split("\n")) output.say(`  ${format.visible(line)}`);
    }
    return exitCodes.done;
  }
  if (result.merged !== undefined) reportMerged(output, plan, result.merged);
  else
    output.print(
      `${target.hostname}/${target.targetName} is as it was in run ${plan.runId}: ` +
        `${format.bytes(result.restoredBytes)} in ${format.plural(result.files, "file")}`,
    );
  for (const { message } of result.warnings) output.warn(format.visible(message));
  if (result.keptOld) reportWays(output, restoreId, flags);
  if (plan.whole) return exitCodes.done;
  output.warn("the snapshot was not whole: `skep show` tells what it lacks");
  return exitCodes.partial;
}

/** Of one whose agent or Redis was lost before it could tell: it is done, and can be undone. */
export function reportInPlace(
  output: Output,
  restoreId: string,
  plan: RestorePlanDocument,
  error: Restore["error"],
): ExitCode {
  const document: RestoreDocument = { restoreId, plan, result: null, inPlace: true };
  output.document(document);
  const { target, runId } = plan;
  output.print(`what run ${runId} has is in place in ${target.hostname}/${target.targetName}`);
  const why = error === undefined ? "Redis was lost meanwhile" : error.message;
  output.warn(`what its agent counted is not known: ${format.visible(why)}`);
  if (target.exists) reportWays(output, restoreId, "");
  return exitCodes.partial;
}

function reportWays(output: Output, restoreId: string, flags: string): void {
  output.say(`What was there before is kept.`);
  output.say(`  put it back:     skep restore undo ${restoreId}${flags}`);
  output.say(`  remove for good: skep restore discard ${restoreId}${flags}`);
}

function reportMerged(
  output: Output,
  { target, runId }: RestorePlanDocument,
  { made, replaced, equal, left }: NonNullable<TaskResultOf<"restore-volume">["merged"]>,
): void {
  const counts = [
    `${made} put where there was none`,
    `${replaced} replaced`,
    `${equal} equal before`,
    ...(left === 0 ? [] : [`${left} left as they are`]),
  ];
  output.print(`${target.hostname}/${target.targetName} has the files of run ${runId}: ${counts.join(", ")}`);
}

export function reportEnd(output: Output, document: RestoreEndDocument): ExitCode {
  output.document(document);
  const { restoreId, volume, state, freedBytes } = document;
  output.print(
    state === "undone"
      ? `volume ${volume} is as it was before restore ${restoreId}`
      : `what volume ${volume} was before restore ${restoreId} is gone${freedBytes === null ? "" : `: ${format.bytes(freedBytes)} freed`}`,
  );
  return exitCodes.done;
}
