// The engine that carries a plan out. A step looks whether it was done already, does it, and verifies it; what became of it
// stands in the journal before anything that depends on it begins. Steps whose predecessors are done go at the same time,
// but for those that share a lane. A transient failure is tried again; one that stays ends the run, once what is under
// way has come to its end.
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError, toErrorRecord } from "../../shared/errors.ts";
import type { Journal, StepResult } from "./journal.ts";

/** A step as the plan prints it; it stays the same for one run and one inventory. */
export interface PlannedStep {
  /** Unique and stable: `volume:node1/pgdata`. */
  id: string;
  /** What the report sums up times by. */
  phase: string;
  /** For people: `restore volume node1/pgdata on m1`. */
  title: string;
  /** Ids of the steps that must be done before. */
  after: readonly string[];
  /** Steps of one lane go one at a time. */
  lane?: string;
  /** Bytes that it moves. */
  sizeBytes?: number;
}

/** What is known while a step runs. */
export interface StepContext {
  signal: AbortSignal;
  /** Of a step that is done; throws SKEP_INTERNAL where that step is not among the predecessors' predecessors. */
  resultOf: (step: string) => StepResult;
  /** `share` 0–1, null where it is not known. */
  onProgress: (detail: string, share: number | null) => void;
}

export interface Step extends PlannedStep {
  /** The result of a step that was done before, by whomever; null where it is still to do. */
  check?: (context: StepContext) => Promise<StepResult | null>;
  act: (context: StepContext) => Promise<StepResult>;
  /** Throws where what act says is not so. */
  verify?: (context: StepContext, result: StepResult) => Promise<void>;
}

/** What a step does, without its place in the plan. */
export type StepActions = Pick<Step, "check" | "act" | "verify">;

export type StepState = "waiting" | "running" | "done" | "failed" | "left out";

export interface StepEvents {
  onState: (step: PlannedStep, state: StepState, detail: string, share: number | null) => void;
  now: () => number;
}

export interface RunStepsOptions extends StepEvents {
  signal: AbortSignal;
  /** Ends once this step is done. */
  until?: string;
  /** Does this step alone; its predecessors must be done. */
  only?: string;
  /** How many steps go at once. */
  parallel: number;
  /** For how long a transient failure of a step is tried again, ms. */
  patienceMs: number;
}

/** Waits between attempts: doubled from the first to the last. */
const firstPauseMs = 1_000;
const lastPauseMs = 15_000;

/** Throws the failure of the first step that failed for good, SKEP_RECOVERY_STEP_UNKNOWN and SKEP_RECOVERY_STEP_EARLY. */
export async function runSteps(steps: readonly Step[], journal: Journal, options: RunStepsOptions): Promise<void> {
  const chosen = chooseSteps(steps, journal, options);
  const failure = new AbortController();
  const signal = AbortSignal.any([options.signal, failure.signal]);
  const done = new Set(steps.filter(({ id }) => journal.resultOf(id) !== null).map(({ id }) => id));
  for (const step of steps) {
    if (done.has(step.id)) options.onState(step, "done", "done before", null);
    else if (!chosen.has(step.id)) options.onState(step, "left out", "", null);
  }
  const waiting = new Set(steps.filter(({ id }) => chosen.has(id) && !done.has(id)));
  const running = new Map<string, Promise<void>>();
  const lanes = new Set<string>();
  const failures: unknown[] = [];

  const begin = (step: Step): void => {
    waiting.delete(step);
    if (step.lane !== undefined) lanes.add(step.lane);
    const ending = carryOut(step, journal, { ...options, signal })
      .then(() => {
        done.add(step.id);
      })
      .catch((error: unknown) => {
        failures.push(error);
        failure.abort(error);
      })
      .finally(() => {
        if (step.lane !== undefined) lanes.delete(step.lane);
        running.delete(step.id);
      });
    running.set(step.id, ending);
  };

  for (;;) {
    if (!signal.aborted) {
      for (const step of waiting) {
        if (running.size >= options.parallel) break;
        const free = step.lane === undefined || !lanes.has(step.lane);
        if (free && step.after.every((id) => done.has(id))) begin(step);
      }
    }
    if (running.size === 0) break;
    await Promise.race(running.values());
  }
  // Those that came after it were stopped by it.
  if (failures.length > 0) throw failures[0] as Error;
  options.signal.throwIfAborted();
  const stuck = [...waiting][0];
  if (stuck !== undefined) throw new TypeError(`step ${stuck.id} waits for steps that never come`);
}

function chooseSteps(
  steps: readonly Step[],
  journal: Journal,
  { until, only }: Pick<RunStepsOptions, "until" | "only">,
): Set<string> {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const find = (id: string): Step => {
    const step = byId.get(id);
    if (step !== undefined) return step;
    throw new SkepError({
      code: "SKEP_RECOVERY_STEP_UNKNOWN",
      message: `the plan has no step ${id}`,
      permanent: true,
      hint: "`skep recover plan` lists the steps",
    });
  };
  if (only !== undefined) {
    const missing = find(only).after.filter((id) => journal.resultOf(id) === null);
    if (missing.length === 0) return new Set([only]);
    throw new SkepError({
      code: "SKEP_RECOVERY_STEP_EARLY",
      message: `step ${only} comes after ${missing.join(", ")}, which is not done`,
      permanent: true,
      hint: "let the recovery run up to there: --until STEP",
    });
  }
  if (until === undefined) return new Set(byId.keys());
  const wanted = new Set<string>();
  const add = (id: string): void => {
    if (wanted.has(id)) return;
    wanted.add(id);
    for (const before of find(id).after) add(before);
  };
  add(until);
  return wanted;
}

async function carryOut(step: Step, journal: Journal, options: RunStepsOptions): Promise<void> {
  const { signal, now } = options;
  const { id } = step;
  const at = (): string => new Date(now()).toISOString();
  const context: StepContext = {
    signal,
    resultOf: (other) => {
      const result = journal.resultOf(other);
      if (result !== null) return result;
      throw new TypeError(`step ${id} asks for ${other}, which is not done`);
    },
    onProgress: (detail, share) => {
      options.onState(step, "running", detail, share);
    },
  };
  const giveUpAt = now() + options.patienceMs;
  for (let attempt = 1; ; attempt++) {
    options.onState(step, "running", attempt > 1 ? `attempt ${attempt}` : "", null);
    journal.record({ at: at(), step: id, event: "started" });
    try {
      const found = (await step.check?.(context)) ?? null;
      const result = found ?? (await step.act(context));
      await step.verify?.(context, result);
      journal.record({ at: at(), step: id, event: "done", result });
      options.onState(step, "done", found === null ? "" : "was done already", null);
      return;
    } catch (error) {
      const record = toErrorRecord(error);
      journal.record({ at: at(), step: id, event: "failed", error: record });
      const pauseMs = Math.min(lastPauseMs, firstPauseMs * 2 ** (attempt - 1));
      if (signal.aborted || record.permanent || record.code === "SKEP_INTERNAL" || now() + pauseMs > giveUpAt) {
        options.onState(step, "failed", record.message, null);
        throw error;
      }
      options.onState(step, "running", `${record.message}; again in ${Math.round(pauseMs / 1000)} s`, null);
      try {
        await sleep(pauseMs, undefined, { signal });
      } catch {
        options.onState(step, "failed", "stopped", null);
        throw error;
      }
    }
  }
}
