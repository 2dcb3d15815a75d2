// What a run that Redis lost left quiet is let go at once. Its orders to release and to unpause were lost with its flow,
// and agents by themselves would wait for the deadlines. Hooks that need what was stopped come after that.
import { z } from "zod";
import { taskSchema } from "../shared/contract/job.ts";
import { queueNames } from "../shared/contract/queues.ts";
import type { Logger } from "../shared/log.ts";
import { runIdPattern, writerIdPattern } from "../shared/repository/layout.ts";
import type { FlowHandler, NewChild } from "./flow.ts";
import type { JobQueue } from "./queue.ts";
import { unitOrder, type QuietUnit } from "./quiet-units.ts";
import type { Repository } from "./repository.ts";
import { openSignedInQueue } from "./restore-order.ts";
import { childId } from "./run-plan.ts";

export const letGoKind = "let-go";

const stepSchema = z.strictObject({
  /** Null: any manager's agent. */
  nodeId: z.string().regex(writerIdPattern).nullable(),
  task: taskSchema,
  timeoutMs: z.int().min(0),
});
const letGoSchema = z.strictObject({
  kind: z.literal(letGoKind),
  runId: z.string().regex(runIdPattern),
  /** Each begins once all of the one before have ended. */
  stages: z.array(z.array(stepSchema).max(100_000)).length(2),
});
/** Signed: whoever writes to Redis must not have another quiet ended, nor a command run. */
const dataSchema = z.strictObject({ order: z.unknown() });

const attempts = 3;

/** Opens its flow, unless nothing of the run was to be quiet. What was begun, and which hooks have run, each agent knows of itself. `now`: ms since 1970. */
export async function letGoOf(
  runId: string,
  units: readonly QuietUnit[],
  { queue, repository, now }: { queue: Pick<JobQueue, "openFlow">; repository: Pick<Repository, "sign">; now: number },
): Promise<void> {
  const deadlineAt = new Date(now).toISOString();
  const steps = (ids: readonly (string | null | undefined)[]): z.input<typeof stepSchema>[] =>
    ids.flatMap((id) => {
      const order = id == null ? null : unitOrder(units, id, { now, deadlineAt }, [], []);
      if (order === null) return [];
      const { nodeId, task, timeoutMs } = order;
      // Its order to hold may be under way, and would be carried out after this.
      const ended = task.kind === "release" ? { ...task, forGood: true } : task;
      return [{ nodeId, task: ended, timeoutMs }];
    });
  const nodes = units.flatMap((unit) => unit.nodes);
  const goOn = steps([...units.map(({ hold }) => hold?.releaseId), ...nodes.map(({ unpauseId }) => unpauseId)]);
  if (goOn.length === 0) return;
  const hooks = steps(nodes.map(({ afterId }) => afterId));
  const letGo: z.input<typeof letGoSchema> = { kind: letGoKind, runId, stages: [goOn, hooks] };
  await queue.openFlow(letGoKind, `${letGoKind}-${runId}`, { order: repository.sign(letGo) });
}

/** `clock`: ms since 1970. */
export function letGoHandler(repository: Repository, clock: () => number, log: Logger): FlowHandler {
  return async (flow) => {
    const { order } = dataSchema.parse(flow.data);
    const { runId, stages } = openSignedInQueue(order, letGoSchema, "an order to let go", repository);
    const outcomes = await flow.outcomes();
    for (const [stage, steps] of stages.entries()) {
      const all = steps.map((step, at) => ({
        ...step,
        id: childId(flow.id, step.task.kind, undefined, `${stage} ${at}`),
      }));
      const missing = all.filter(({ id }) => !outcomes.has(id));
      if (missing.length === 0) continue;
      await flow.addChildren(
        missing.map(({ id, nodeId, task, timeoutMs }): NewChild => {
          const target = nodeId === null ? ({ kind: "managers" } as const) : ({ kind: "node", nodeId } as const);
          const queue = nodeId === null ? queueNames.managers : queueNames.node(nodeId);
          return { id, queue, attempts, data: repository.order({ id, target, task, timeoutMs }, clock()) };
        }),
      );
      return { next: "children" };
    }
    const failed = [...outcomes].flatMap(([id, outcome]) => (outcome.state === "failed" ? [id] : []));
    log.warn({ run: runId, told: outcomes.size, failed }, "what a lost run had made quiet was told to go on");
    return { next: "done", result: { failed: failed.length } };
  };
}
