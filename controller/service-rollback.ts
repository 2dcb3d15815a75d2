// `skep service rollback`, as a flow of one job for any manager's agent.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { openResult } from "../shared/contract/signed-job.ts";
import { queueNames } from "../shared/contract/queues.ts";
import { fromErrorRecord, SkepError, toErrorRecord } from "../shared/errors.ts";
import { errorRecordSchema } from "../shared/repository/run.ts";
import type { RolledBack } from "./api/schemas.ts";
import type { FlowHandler } from "./flow.ts";
import type { JobQueue } from "./queue.ts";
import type { Repository } from "./repository.ts";
import { childId } from "./run-plan.ts";

export const serviceRollbackKind = "service-rollback";
const timeoutMs = 60_000;
const pollMs = 100;

const dataSchema = z.strictObject({ service: z.string().min(1).max(1024) });
const endSchema = z.union([
  z.strictObject({ service: z.string(), fromRecord: z.boolean() }),
  z.strictObject({ error: errorRecordSchema }),
]);

/** `clock`: ms since 1970. */
export function serviceRollbackHandler(repository: () => Repository, clock: () => number): FlowHandler {
  return async (flow) => {
    const { service } = dataSchema.parse(flow.data);
    const id = childId(flow.id, "rollback");
    const outcome = (await flow.outcomes()).get(id);
    if (outcome === undefined) {
      const order = {
        id,
        target: { kind: "managers" as const },
        task: { kind: "rollback" as const, service },
        timeoutMs,
      };
      // Once: done twice it would be no rollback.
      const data = repository().order(order, clock());
      await flow.addChildren([{ id, queue: queueNames.managers, data, attempts: 1 }]);
      return { next: "children" };
    }
    if (outcome.state === "failed") return { next: "done", result: { error: outcome.failure.error } };
    try {
      const { result } = openResult(outcome.value, id, (writerId) => repository().resultKeyOf(writerId));
      if (result.kind !== "rollback") throw new TypeError(`a rollback was answered with ${result.kind}`);
      return { next: "done", result: { service: result.service, fromRecord: result.fromRecord } };
    } catch (error) {
      return { next: "done", result: { error: toErrorRecord(error) } };
    }
  };
}

/** Resolves with what the manager's agent did. Throws what it threw, SKEP_SERVICE_UNANSWERED. */
export async function rollBackService(queue: JobQueue, service: string): Promise<RolledBack> {
  const id = `rollback-${randomBytes(6).toString("hex")}`;
  await queue.openFlow(serviceRollbackKind, id, { service } satisfies z.infer<typeof dataSchema>);
  const until = Date.now() + timeoutMs;
  while (Date.now() < until) {
    await sleep(pollMs);
    const flow = await queue.flow(id);
    if (flow?.state === "failed" && flow.error !== null) throw fromErrorRecord(flow.error);
    if (flow?.state !== "done") continue;
    const end = endSchema.parse(flow.result);
    if (!("error" in end)) return end;
    const { hint, ...error } = end.error;
    throw fromErrorRecord(hint === undefined ? error : { ...error, hint });
  }
  throw new SkepError({
    code: "SKEP_SERVICE_UNANSWERED",
    message: `no manager's agent rolled service ${service} back within ${timeoutMs / 1000} s`,
    permanent: false,
    hint: "see with `skep agents` whether an agent of a manager is there, and look at the service before you try again",
  });
}
