// Restoring one volume onto a machine: agent/once.ts there fetches it from the store itself; the file keys that the
// operator's identity opened reach it on standard input.
import type { TaskOf } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import { collectRestoreKeys } from "../../shared/repository/open/file-keys.ts";
import { describeProgress } from "../cli/board.ts";
import type { StepResult } from "./journal.ts";
import type { PlannedVolume } from "./recovery-plan.ts";
import { onceInput } from "./once-input.ts";
import { derivedId, kitOn, type RecoveryTools } from "./recovery-tools.ts";
import type { Step, StepContext } from "./steps.ts";

export function volumeActions(tools: RecoveryTools, { source, machine }: PlannedVolume): Pick<Step, "act" | "verify"> {
  const { totals } = source.part;
  return {
    act: async (context) => await restore(tools, { source, machine }, context),
    verify: (_, result) => {
      const whole = result["before"] === true || result["restoredBytes"] === totals?.sourceBytes;
      if (whole || source.part.status === "partial") return Promise.resolve();
      throw new SkepError({
        code: "SKEP_RECOVERY_VOLUME_DIFFERS",
        message: `volume ${source.id} came back with ${String(result["restoredBytes"])} bytes, the run says ${totals?.sourceBytes ?? 0}`,
        permanent: false,
        hint: "it is restored again when the recovery goes on",
      });
    },
  };
}

async function restore(tools: RecoveryTools, volume: PlannedVolume, context: StepContext): Promise<StepResult> {
  const { source, machine } = volume;
  const { part } = source;
  const { signal } = context;
  const restoreId = derivedId(tools.recoveryId, `${machine} ${source.id}`);
  context.onProgress("collecting its keys", null);
  const identityKeys = await collectRestoreKeys(tools.store, tools.operator, part, signal);
  const task: TaskOf<"restore-volume"> = {
    kind: "restore-volume",
    restoreId,
    volume: part.volume,
    targetName: part.volume.name,
    sourceBytes: source.sizeBytes,
    manifest: part.manifest,
    refs: part.refs,
    writerId: part.nodeId,
    sealedKeys: "",
  };
  const input = onceInput(tools, { machine, name: restoreId, task, writerId: part.nodeId, identityKeys });
  const common = { volume: source.id, machine, runId: source.run.id, takenAt: part.startedAt };
  try {
    const result = await kitOn(tools, machine).once("restore-volume", restoreId, input, {
      signal,
      onProgress: (progress) => {
        const { detail, share } = describeProgress(progress);
        context.onProgress(detail, share);
      },
    });
    const { files, restoredBytes, keptOld, warnings } = result;
    return { ...common, files, restoredBytes, keptOld, warnings: warnings.map(({ message }) => message) };
  } catch (error) {
    // The call before had ended its work when it was cut off.
    if (!(error instanceof SkepError) || error.code !== "SKEP_RESTORE_DONE_BEFORE") throw error;
    return { ...common, before: true };
  }
}
