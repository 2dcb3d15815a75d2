// What stands in the agent's journal of a pause: written before the first container is frozen or stopped, gone when it is over.
import { z } from "zod";
import { restoreIdSchema } from "../../shared/contract/job.ts";
import type { Journal } from "../journal.ts";
import { stoppedContainerSchema } from "./stopped-container.ts";

const pauseRecordSchema = z.strictObject({
  pauseId: restoreIdSchema,
  deadlineAt: z.iso.datetime(),
  /** ISO 8601: before the first one was frozen. */
  pausedAt: z.iso.datetime(),
  containers: z.array(z.strictObject({ id: z.string(), name: z.string() })),
  /** Of no service; as they are stopped, and started again. */
  stops: z.array(stoppedContainerSchema).default([]),
  /** The paused ones went on before anybody said so: for so long they had stood still. */
  quietMs: z.int().min(0).optional(),
});
export type PauseRecord = z.infer<typeof pauseRecordSchema>;

export function readPauses(journal: Journal): PauseRecord[] {
  return journal.pauses().map((text) => pauseRecordSchema.parse(JSON.parse(text)));
}

export function writePause(journal: Journal, record: PauseRecord): void {
  journal.putPause(record.pauseId, JSON.stringify(record));
}
