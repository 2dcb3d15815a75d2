// Carries out one job, whichever door it came through.
import type { Job } from "../shared/contract/job.ts";
import type { TaskResult } from "../shared/contract/task-result.ts";
import { backup } from "./backup.ts";
import type { AgentContext, Attempt, QuietTools } from "./context.ts";
import { hold } from "./quiesce/hold.ts";
import { pause, unpause } from "./quiesce/pause.ts";
import { release } from "./quiesce/release.ts";
import { rollBack } from "./quiesce/rollback.ts";
import { restoreFiles } from "./restore-files.ts";
import { restoreImage } from "./restore-image.ts";
import { loadDump } from "./restore-load.ts";
import {
  discardRestore,
  listRestores,
  prepareRestore,
  restoreVolume,
  undoRestore,
  type RestoreTools,
} from "./restore.ts";

export async function executeJob(
  job: Job,
  context: AgentContext,
  tools: RestoreTools & QuietTools,
  attempt: Attempt,
): Promise<TaskResult> {
  const { task } = job;
  switch (task.kind) {
    case "raft":
    case "definitions":
    case "node":
    case "volume":
    case "dump":
    case "image":
      return backup(job, task, context, tools, attempt);
    case "pause":
      return pause(task, context, tools, attempt.signal);
    case "unpause":
      return unpause(task, context.docker, tools.journal, attempt.signal, attempt.isLast);
    case "watch":
      return tools.watches.begin(task, context.docker, tools.journal);
    case "prove":
      return tools.watches.prove(task, attempt.signal);
    case "restore-prepare":
      return prepareRestore(task, context, tools.keyring, attempt);
    case "restore-volume":
      return task.files === undefined
        ? restoreVolume(task, context, tools, attempt)
        : restoreFiles({ ...task, files: task.files }, context, tools, attempt);
    case "restore-load":
      return loadDump(task, context, tools, attempt);
    case "restore-image":
      return restoreImage(task, context, tools.identityKeys, attempt);
    case "restore-list":
      return listRestores(tools.journal);
    case "restore-undo":
      return undoRestore(task, context, tools.journal, attempt);
    case "restore-discard":
      return discardRestore(task, tools.journal);
    case "hold":
      return hold(task, context.docker, attempt.signal);
    case "release":
      return release(task.holdId, context.docker, task.forGood);
    case "rollback":
      return rollBack(task, context.docker, attempt.signal);
  }
}
