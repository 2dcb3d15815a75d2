// A restore as a flow: prepare → (keys from the operator) → hold → restore → release. Each step may be done again
// after a crash. What was held is released whatever became of the restore; where nobody is left to do it, the agents
// on managers do it by themselves after the hold's deadline.
import { z } from "zod";
import type { Task, TaskKind } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { openResult, sealedResultSchema, type SealedResult } from "../shared/contract/signed-job.ts";
import { queueNames } from "../shared/contract/queues.ts";
import { SkepError, toErrorRecord, type ErrorRecord } from "../shared/errors.ts";
import { errorRecordSchema } from "../shared/repository/run.ts";
import { signedSchema, type Signed } from "../shared/repository/signature.ts";
import { taskResultSchema } from "../shared/contract/task-result.ts";
import type { ChildOutcome, Flow, FlowHandler, FlowNext, NewChild } from "./flow.ts";
import { childId } from "./run-plan.ts";
import type { Repository } from "./repository.ts";
import { openRestoreOrder, restoreTimeoutMs, type RestoreOrder } from "./restore-order.ts";

/** How long the operator's CLI may take to look at the plan, ask, and hand the keys over. */
export const keysTimeoutMs = 15 * 60_000;
/** Keys that came just as its controller died are seen after this. */
const mostSleepMs = 60_000;
const shortTimeoutMs = 10 * 60_000;
/** Restoring is done once: what failed half-way is taken back by the agent, and asked for anew by its operator. */
const restoreAttempts = 1;
const otherAttempts = 3;

export const restoreDataSchema = z.strictObject({
  /** Signed restoreOrderSchema. */
  order: z.unknown(),
  /** age file, base64; null until the operator gave them. */
  sealedKeys: z.string().nullable(),
  /** The operator looked at the plan and said no. */
  dropped: z.literal(true).optional(),
  /** In place since before Redis was lost, as its agent told: nothing is to be done. */
  recalled: z.literal(true).optional(),
});

export const restoreEndSchema = z.strictObject({
  endedAt: z.iso.datetime(),
  prepared: z.strictObject({ jobId: z.string(), sealedResult: sealedResultSchema }).optional(),
  result: taskResultSchema.optional(),
  error: errorRecordSchema.optional(),
  /** Its step failed, and its agent says that what it restored is in place all the same: it was killed before it told, say. */
  inPlace: z.literal(true).optional(),
  /** Ended by its operator before it had its keys: nothing was changed. */
  dropped: z.literal(true).optional(),
});
export type RestoreEnd = z.infer<typeof restoreEndSchema>;

export type RestoreStep =
  | "restore-prepare"
  | "hold"
  | "restore-volume"
  | "restore-load"
  | "restore-list"
  | "restore-undo"
  | "restore-discard"
  | "release";
/** Any manager's agent does them; the others are of the volume's node. */
const managersSteps: ReadonlySet<RestoreStep> = new Set(["hold", "release"]);

export function stepId(restoreId: string, step: RestoreStep, round: string): string {
  return childId(restoreId, round === "" ? step : `${round}-${step}`);
}

/**
 * Steps of one flow, by what has come of them. `round` tells the steps of an undo from those of its restore; so does
 * `holdId`, as a hold that was released is over for good.
 */
export class Steps {
  readonly #flow: Flow;
  readonly #repository: Repository;
  readonly #outcomes: Map<string, ChildOutcome>;
  readonly order: RestoreOrder;
  /** The same as this controller signed it. */
  readonly signedOrder: Signed;
  readonly holdId: string;
  readonly #round: string;

  constructor(
    flow: Flow,
    repository: Repository,
    signedOrder: unknown,
    outcomes: Map<string, ChildOutcome>,
    { round, holdId }: { round: string; holdId: string | null },
  ) {
    this.#flow = flow;
    this.#repository = repository;
    this.#outcomes = outcomes;
    this.order = openRestoreOrder(signedOrder, repository);
    this.signedOrder = signedSchema.parse(signedOrder);
    this.#round = round;
    this.holdId = holdId ?? this.order.restoreId;
  }

  /** Null while the step was not begun. A result that its agent did not give counts as failed. */
  outcome<K extends RestoreStep & TaskKind>(
    step: K,
  ): { result: TaskResultOf<K>; sealed: SealedResult } | { error: ErrorRecord } | null {
    const jobId = stepId(this.order.restoreId, step, this.#round);
    const outcome = this.#outcomes.get(jobId);
    if (outcome === undefined) return null;
    if (outcome.state === "failed") return { error: outcome.failure.error };
    try {
      const { result, writerId } = openResult(outcome.value, jobId, (id) => this.#repository.resultKeyOf(id));
      if (result.kind !== step) throw wrongResult(jobId, `that of a ${result.kind}`);
      if (!managersSteps.has(step) && writerId !== this.order.toNodeId) {
        throw wrongResult(jobId, `by node ${writerId}, which it was not for`);
      }
      return { result: result as TaskResultOf<K>, sealed: sealedResultSchema.parse(outcome.value) };
    } catch (error) {
      return { error: toErrorRecord(error) };
    }
  }

  async begin(step: RestoreStep, task: Task, timeoutMs: number, now: number): Promise<FlowNext> {
    const { restoreId, toNodeId } = this.order;
    const id = stepId(restoreId, step, this.#round);
    const onManagers = managersSteps.has(step);
    const target = onManagers ? ({ kind: "managers" } as const) : ({ kind: "node", nodeId: toNodeId } as const);
    const child: NewChild = {
      id,
      queue: onManagers ? queueNames.managers : queueNames.node(toNodeId),
      data: this.#repository.order({ id, target, task, timeoutMs }, now),
      attempts: step === "restore-volume" || step === "restore-load" ? restoreAttempts : otherAttempts,
    };
    await this.#flow.addChildren([child]);
    return { next: "children" };
  }
}

/** What stands between a volume and a restore: holds what uses it, where that is wished. Null when nothing is to be waited for. */
export async function holdUsers(steps: Steps, serviceIds: readonly string[], now: number): Promise<FlowNext | null> {
  const { order, holdId } = steps;
  if (!order.stop || serviceIds.length === 0 || steps.outcome("hold") !== null) return null;
  const deadlineAt = new Date(now + restoreTimeoutMs(order) + shortTimeoutMs).toISOString();
  const task: Task = {
    kind: "hold",
    holdId,
    serviceIds: [...serviceIds],
    deadlineAt,
    allOrNone: true,
    sharedVolumes: [],
  };
  return steps.begin("hold", task, shortTimeoutMs, now);
}

/** Null when there is nothing (more) to release. */
export async function releaseHeld(steps: Steps, now: number): Promise<FlowNext | null> {
  if (steps.outcome("hold") === null || steps.outcome("release") !== null) return null;
  return steps.begin("release", { kind: "release", holdId: steps.holdId }, shortTimeoutMs, now);
}

export function serviceIdsOf(usedBy: TaskResultOf<"restore-prepare">["usedBy"]): string[] {
  return [...new Set(usedBy.flatMap(({ serviceId }) => (serviceId === null ? [] : [serviceId])))].sort();
}

/** `clock`: ms since 1970. */
export function restoreHandler(repository: () => Repository, clock: () => number): FlowHandler {
  return async (flow) => {
    const data = restoreDataSchema.parse(flow.data);
    const steps = new Steps(flow, repository(), data.order, await flow.outcomes(), { round: "", holdId: null });
    return restoreStep(steps, data, clock());
  };
}

async function restoreStep(
  steps: Steps,
  { sealedKeys, dropped, recalled }: z.infer<typeof restoreDataSchema>,
  now: number,
): Promise<FlowNext> {
  const { order } = steps;
  const { restoreId, volume, targetName, sourceBytes, manifest, refs, load, files } = order;
  const chosen = files === undefined ? {} : { files };
  const end = (fields: Omit<RestoreEnd, "endedAt">): FlowNext => ({
    next: "done",
    result: { endedAt: new Date(now).toISOString(), ...fields } satisfies RestoreEnd,
  });

  if (recalled === true) return end({});
  const prepared = steps.outcome("restore-prepare");
  if (prepared === null) {
    const loaded = load === undefined ? {} : { load };
    const wanted = { restoreId, volume, targetName, sourceBytes };
    const task: Task = { kind: "restore-prepare", ...wanted, ...loaded, ...chosen };
    return steps.begin("restore-prepare", task, shortTimeoutMs, now);
  }
  if ("error" in prepared) return end({ error: prepared.error });
  const known = { prepared: { jobId: stepId(restoreId, "restore-prepare", ""), sealedResult: prepared.sealed } };

  if (sealedKeys === null) {
    if (dropped === true) return end({ ...known, dropped });
    const until = Date.parse(order.startedAt) + keysTimeoutMs;
    return now < until
      ? { next: "later", at: Math.min(until, now + mostSleepMs) }
      : end({ ...known, error: toErrorRecord(keysNeverCame(restoreId)) });
  }

  const holding = await holdUsers(steps, serviceIdsOf(prepared.result.usedBy), now);
  if (holding !== null) return holding;
  const held = steps.outcome("hold");
  if (held !== null && "error" in held) {
    return (await releaseHeld(steps, now)) ?? end({ ...known, error: held.error });
  }

  const step = load === undefined ? "restore-volume" : "restore-load";
  const restored = steps.outcome(step);
  if (restored === null) {
    const source = { restoreId, sourceBytes, manifest, refs, writerId: order.nodeId, sealedKeys };
    const task: Task =
      load === undefined
        ? { kind: "restore-volume", ...source, volume, targetName, ...chosen, order: steps.signedOrder }
        : {
            kind: "restore-load",
            ...source,
            command: { ...load, container: prepared.result.loadsIn ?? load.container },
          };
    return steps.begin(step, task, restoreTimeoutMs(order), now);
  }
  const releasing = await releaseHeld(steps, now);
  if (releasing !== null) return releasing;
  if ("error" in restored) {
    const inPlace = await isInPlace(steps, now);
    if (typeof inPlace !== "boolean") return inPlace;
    return end({ ...known, error: restored.error, ...(inPlace && { inPlace }) });
  }
  const released = steps.outcome("release");
  const unreleased = released !== null && "error" in released ? { error: released.error } : {};
  return end({ ...known, result: restored.result, ...unreleased });
}

/** After its step failed: does its agent have it in place? What can't be asked is taken as no. */
async function isInPlace(steps: Steps, now: number): Promise<FlowNext | boolean> {
  if (steps.order.load !== undefined) return false;
  const listed = steps.outcome("restore-list");
  if (listed === null) return steps.begin("restore-list", { kind: "restore-list" }, shortTimeoutMs, now);
  return "result" in listed && listed.result.restores.some(({ restoreId }) => restoreId === steps.order.restoreId);
}

function keysNeverCame(restoreId: string): SkepError {
  return new SkepError({
    code: "SKEP_RESTORE_KEYS_TIMEOUT",
    message: `the keys for restore ${restoreId} did not come within ${keysTimeoutMs / 60_000} minutes`,
    permanent: true,
    hint: "nothing was changed; start the restore again",
  });
}

function wrongResult(jobId: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_RESULT_INVALID",
    message: `the result of job ${jobId} is ${why}`,
    permanent: true,
    hint: "agent and controller are of different versions, or an agent wrote what is not its own to Redis",
  });
}
