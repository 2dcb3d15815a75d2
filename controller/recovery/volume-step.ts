// One volume onto a machine: agent/once.ts there fetches it from the store itself; the file keys that the operator's
// identity opened reach it on standard input. One that is a folder of the host by its options is restored into a plain
// volume first, and its content then put into that folder; one without data is only made.
import { z } from "zod";
import type { TaskOf } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import { collectRestoreKeys } from "../../shared/repository/open/file-keys.ts";
import { describeProgress } from "../cli/board.ts";
import type { StepResult } from "./journal.ts";
import { onceInput } from "./once-input.ts";
import { bindFolder, type PlannedVolume } from "./planned-volumes.ts";
import { derivedId, kitOn, machineOf, type RecoveryTools } from "./recovery-tools.ts";
import type { Step, StepContext } from "./steps.ts";
import { placeInFolder } from "./volume-folders.ts";

export function volumeActions(tools: RecoveryTools, volume: PlannedVolume): Pick<Step, "act" | "verify"> {
  const { source, machine, how } = volume;
  const { totals } = source.part;
  if (how === "make") return { act: (context) => make(tools, volume, context) };
  return {
    act: async (context) => {
      if (how === "plain") return await restore(tools, volume, source.part.volume.name, context);
      const restored = await restoreIntoFolder(tools, volume, context);
      return { ...restored, ...(await make(tools, { source, machine }, context)) };
    },
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

/** As it was made: with driver, options and labels, and its folder where it has one. One of this name that is there stays as it is. */
async function make(
  tools: RecoveryTools,
  { source, machine }: Pick<PlannedVolume, "source" | "machine">,
  { signal }: StepContext,
): Promise<StepResult> {
  const { name, driver, options, labels } = source.part.volume;
  const folder = bindFolder(source);
  // Without it no container starts.
  if (folder !== null) await machineOf(tools, machine).mustRun(["mkdir", "-p", folder], { signal });
  const body = { Name: name, Driver: driver, DriverOpts: options, Labels: labels };
  await machineOf(tools, machine).askEngine({ method: "POST", path: "/volumes/create", body }, signal);
  return { volume: source.id, machine };
}

const mountpointSchema = z.looseObject({ Mountpoint: z.string() });

async function restoreIntoFolder(
  tools: RecoveryTools,
  volume: PlannedVolume,
  context: StepContext,
): Promise<StepResult> {
  const { source, machine } = volume;
  const { signal } = context;
  const onMachine = machineOf(tools, machine);
  const folder = bindFolder(source);
  if (folder === null) throw new TypeError(`${source.id} is no folder of the host`);
  const restoreId = derivedId(tools.recoveryId, `${machine} ${source.id}`);
  const beside = `skep-recovery-${restoreId}`;
  const result = await restore(tools, volume, beside, context);
  const path = `/volumes/${beside}`;
  const found = await onMachine.engine(mountpointSchema, { path }, signal).catch((error: unknown) => {
    if (error instanceof SkepError && error.code === "SKEP_DOCKER_NOT_FOUND") return null;
    throw error;
  });
  // It goes last: a call before had ended its work when it was cut off.
  if (found === null) return result;
  context.onProgress(`putting it into ${folder}`, null);
  await placeInFolder(onMachine, { content: found.Mountpoint, folder, restoreId }, signal);
  await onMachine.askEngine({ method: "DELETE", path }, signal);
  return result;
}

async function restore(
  tools: RecoveryTools,
  { source, machine }: Pick<PlannedVolume, "source" | "machine">,
  targetName: string,
  context: StepContext,
): Promise<StepResult> {
  const { part } = source;
  const { signal } = context;
  const restoreId = derivedId(tools.recoveryId, `${machine} ${source.id}`);
  context.onProgress("collecting its keys", null);
  const identityKeys = await collectRestoreKeys(tools.store, tools.operator, part, signal);
  const task: TaskOf<"restore-volume"> = {
    kind: "restore-volume",
    restoreId,
    volume: part.volume,
    targetName,
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
