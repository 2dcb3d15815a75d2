// Undo and discard of a restore, as flows of their own. An undo changes what containers see, so what uses the volume
// is held for it as it was for the restore.
import { z } from "zod";
import { restoreIdSchema, type Task } from "../shared/contract/job.ts";
import type { Signed } from "../shared/repository/signature.ts";
import type { FlowHandler, FlowNext } from "./flow.ts";
import type { Repository } from "./repository.ts";
import { forgedInQueue, openRestoreOrder, openSignedInQueue } from "./restore-order.ts";
import { holdUsers, releaseHeld, serviceIdsOf, Steps, type RestoreEnd } from "./restore-flow.ts";

export const takebackKinds = ["undo", "discard"] as const;
export type TakebackKind = (typeof takebackKinds)[number];
export const takebackFlowId = (restoreId: string, kind: TakebackKind): string => `${restoreId}-${kind}`;

export const takebackDataSchema = z.strictObject({
  /** The restore's own signed order. */
  order: z.unknown(),
  /** Signed takebackHoldSchema. */
  hold: z.unknown(),
});

/** What is held for one attempt. Signed: whoever writes to Redis must not have another hold released. */
const takebackHoldSchema = z.strictObject({
  kind: z.literal("takeback"),
  restoreId: restoreIdSchema,
  holdId: restoreIdSchema,
});

export function signTakebackHold(ids: { restoreId: string; holdId: string }, repository: Repository): Signed {
  const hold: z.infer<typeof takebackHoldSchema> = { kind: "takeback", ...ids };
  return repository.sign(hold);
}

/** Throws SKEP_RESTORE_FORGED, SKEP_SIGNATURE_INVALID. */
function openTakebackHold(signed: unknown, restoreId: string, repository: Repository): string {
  const hold = openSignedInQueue(signed, takebackHoldSchema, "a takeback", repository);
  if (hold.restoreId !== restoreId) throw forgedInQueue("a takeback", "is of another restore");
  return hold.holdId;
}

const timeoutMs = 30 * 60_000;

export function takebackHandler(kind: TakebackKind, repository: () => Repository, clock: () => number): FlowHandler {
  return async (flow) => {
    const { order, hold } = takebackDataSchema.parse(flow.data);
    const { restoreId } = openRestoreOrder(order, repository());
    const holdId = openTakebackHold(hold, restoreId, repository());
    // Agents refuse a job that they have done: another try at an undo that failed has jobs of its own.
    const round = `${kind}-${holdId}`;
    const steps = new Steps(flow, repository(), order, await flow.outcomes(), { round, holdId });
    return takebackStep(kind, steps, clock());
  };
}

async function takebackStep(kind: TakebackKind, steps: Steps, now: number): Promise<FlowNext> {
  const { order } = steps;
  const { restoreId, volume, targetName } = order;
  const end = (fields: Omit<RestoreEnd, "endedAt">): FlowNext => ({
    next: "done",
    result: { endedAt: new Date(now).toISOString(), ...fields } satisfies RestoreEnd,
  });
  if (kind === "undo" && order.stop) {
    const users = steps.outcome("restore-prepare");
    if (users === null) {
      // Asked for its list of users: nothing is to be written.
      const task: Task = { kind: "restore-prepare", restoreId, volume, targetName, sourceBytes: 0 };
      return steps.begin("restore-prepare", task, timeoutMs, now);
    }
    if ("error" in users) return end({ error: users.error });
    const holding = await holdUsers(steps, serviceIdsOf(users.result.usedBy), now);
    if (holding !== null) return holding;
    const held = steps.outcome("hold");
    if (held !== null && "error" in held) return (await releaseHeld(steps, now)) ?? end({ error: held.error });
  }
  const step = `restore-${kind}` as const;
  const taken = steps.outcome(step);
  if (taken === null) return steps.begin(step, { kind: step, restoreId }, timeoutMs, now);
  const releasing = await releaseHeld(steps, now);
  if (releasing !== null) return releasing;
  return end("error" in taken ? { error: taken.error } : { result: taken.result });
}
