// How far a pause came, kept in the agent's journal for as long as an order about it may still come, whichever way:
// pause-record.ts is what stands still now.
import type { z } from "zod";
import { hooksRanSchema, type TaskResultOf } from "../../shared/contract/task-result.ts";
import { partSchema } from "../../shared/repository/run.ts";
import type { Journal } from "../journal.ts";
import { notNoted } from "./let-go.ts";

/** It was told to go on: nothing is made quiet for it any more. Throws SKEP_STATE_FULL, SKEP_STATE_UNWRITABLE. */
export function noteLetGo(journal: Journal, pauseId: string): void {
  note(journal, pauseId, "let-go", true);
}

export function isLetGo(journal: Journal, pauseId: string): boolean {
  return journal.pauseStep(pauseId, "let-go") !== null;
}

/** Its hooks before are begun: those after are owed. Throws as noteLetGo. */
export function noteBegun(journal: Journal, pauseId: string): void {
  note(journal, pauseId, "begun", true);
}

export function isBegun(journal: Journal, pauseId: string): boolean {
  return journal.pauseStep(pauseId, "begun") !== null;
}

type HooksRan = z.infer<typeof hooksRanSchema>;

/** Its hooks after have run. Throws as noteLetGo. */
export function noteAfter(journal: Journal, pauseId: string, ran: HooksRan): void {
  note(journal, pauseId, "after", ran);
}

/** Null where they have not run. */
export function readAfter(journal: Journal, pauseId: string): HooksRan | null {
  const text = journal.pauseStep(pauseId, "after");
  return text === null ? null : hooksRanSchema.parse(JSON.parse(text));
}

const quietSchema = partSchema.shape.quiet.unwrap();

/** How long what stood still, of a pause that is over (Journal.endPause); none where nothing is known of it. */
export function readQuiet(journal: Journal, pauseId: string): TaskResultOf<"unpause">["quiet"] {
  const text = journal.pauseStep(pauseId, "quiet");
  return text === null ? [] : quietSchema.parse(JSON.parse(text));
}

function note(journal: Journal, pauseId: string, step: "after" | "begun" | "let-go", said: unknown): void {
  try {
    journal.notePauseStep(pauseId, step, JSON.stringify(said), Date.now());
  } catch (error) {
    throw notNoted(pauseId, error);
  }
}
