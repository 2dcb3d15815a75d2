// The commands that a user wants run before its volumes are quiet, and after.
import type { TaskOf } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import type { CommandRecord } from "../../shared/repository/run.ts";
import type { Docker } from "../docker.ts";
import { runInContainer } from "./container-command.ts";

type Hook = TaskOf<"pause">["before"][number];

/** One after the other. Throws SKEP_COMMAND_FAILED, SKEP_COMMAND_NO_CONTAINER of one with on-error=fail, and its output. */
export async function runHooks(
  step: "hook.pre" | "hook.post",
  hooks: readonly Hook[],
  docker: Docker,
  signal: AbortSignal,
): Promise<CommandRecord[]> {
  const records: CommandRecord[] = [];
  for (const { onError, ...command } of hooks) {
    const { record, fault } = await runInContainer(step, command, docker, signal);
    records.push(record);
    if (fault === null || onError === "continue") continue;
    const { stderr, stdout = "" } = record;
    const said = (stderr.trim() === "" ? stdout : stderr).trim();
    throw new SkepError({
      code: fault.code,
      message: said === "" ? fault.message : `${fault.message}; it wrote: ${said.slice(-2048)}`,
      permanent: true,
      ...(fault.hint === undefined ? {} : { hint: fault.hint }),
    });
  }
  return records;
}
