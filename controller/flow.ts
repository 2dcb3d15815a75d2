// A flow as the rest of the controller sees it: a job of the controller's own, done in steps, whose children are done
// by agents. How this is done with a queue is queue.ts.
import { z } from "zod";
import type { JobProgress } from "../shared/contract/job-progress.ts";
import { SkepError, type ErrorRecord } from "../shared/errors.ts";
import { shapeFaults } from "../shared/fault-list.ts";
import { parseJsonText } from "../shared/json-text.ts";
import { writerIdPattern } from "../shared/repository/layout.ts";
import { errorRecordSchema } from "../shared/repository/run.ts";
import type { Failure } from "./run-plan.ts";

export interface ChildRef {
  queue: string;
  id: string;
}

export interface NewChild extends ChildRef {
  /** Signed job; null: held back until dispatch() gives it one. */
  data: object | null;
  attempts: number;
  /** For agents that choose among jobs of a queue; what a job is, only its signed order says. */
  kind?: string;
}

export type ChildState = "held" | "waiting" | "retrying" | "active" | "abandoned-by-agent" | "ended" | "missing";

export interface ChildView extends ChildRef {
  state: ChildState;
  data: unknown;
  /** Attempts that have ended. */
  attempts: number;
  progress: JobProgress | null;
  /** Why its last attempt failed; of one that waits for its next. */
  failure?: ErrorRecord;
}

export type ChildOutcome = { state: "done"; value: unknown } | { state: "failed"; failure: Failure };

export type FlowNext = { next: "children" } | { next: "later"; at: number } | { next: "done"; result: object };

export interface Flow {
  id: string;
  /** As it was stored; whoever handles the flow checks it. */
  data: unknown;
  save(data: object): Promise<void>;
  /** Those that are not there, never were and were not given up. */
  addChildren(children: readonly NewChild[]): Promise<void>;
  /** Of those that have ended, by child id. */
  outcomes(): Promise<Map<string, ChildOutcome>>;
}

/** Called for each step once no child is pending; may be called again for a step that was done before a crash. */
export type FlowHandler = (flow: Flow) => Promise<FlowNext>;

export interface FlowView {
  id: string;
  kind: string;
  data: unknown;
  state: "open" | "done" | "failed";
  /** Of a failed one; of an open one, why its last try failed. */
  error: ErrorRecord | null;
  result: unknown;
  /** ms since 1970. */
  createdAt: number;
}

const failureSchema = z.strictObject({
  error: errorRecordSchema,
  attempts: z.int().min(1),
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime(),
  nodeId: z.string().regex(writerIdPattern).nullable(),
});

/** The inverse of JSON.stringify for a failure. Throws SKEP_RESULT_INVALID. */
export function decodeFailure(text: string): Failure {
  const failure = failureSchema.safeParse(parseJsonText(text));
  if (!failure.success) {
    throw new SkepError({
      code: "SKEP_RESULT_INVALID",
      message: `the failure of a job in the queue has another shape: ${shapeFaults(failure.error)}`,
      permanent: true,
      hint: "somebody other than the controller wrote to Redis",
    });
  }
  const { error, ...rest } = failure.data;
  const { hint, ...record } = error;
  return { ...rest, error: hint === undefined ? record : { ...record, hint } };
}
