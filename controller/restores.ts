// Restores as the API sees them: begun, given their keys, taken back, looked at. What is known of them lies in the
// queue; the agent's own journal is the truth of what was done to a volume.
import { randomInt } from "node:crypto";
import type { z } from "zod";
import { SkepError } from "../shared/errors.ts";
import { readRun } from "../shared/repository/run-chain.ts";
import { resultPayloadSchema, sealedResultSchema, type SealedResult } from "../shared/contract/signed-job.ts";
import type { Restore, StartRestore } from "./api/schemas.ts";
import type { ChildOutcome, FlowHandler, FlowView } from "./flow.ts";
import type { JobQueue } from "./queue.ts";
import type { Repository } from "./repository.ts";
import { RestoreRecall, recallKind, type RecalledRestore } from "./restore-recall.ts";
import type { AgentPresence } from "./run-plan.ts";
import {
  restoreDataSchema,
  restoreEndSchema,
  restoreHandler,
  stepId,
  type RestoreEnd,
  type RestoreStep,
} from "./restore-flow.ts";
import { openRestoreOrder, planRestore, type RestoreOrder } from "./restore-order.ts";
import {
  signTakebackHold,
  takebackFlowId,
  takebackHandler,
  takebackKinds,
  type TakebackKind,
} from "./takeback-flow.ts";

const flowKind = "restore";
const takebackFlowKind = (kind: TakebackKind): string => `restore-${kind}`;

export class Restores {
  readonly #queue: JobQueue;
  readonly #repository: () => Repository;
  readonly #clock: () => number;
  readonly #recall: RestoreRecall;

  /** `clock`: ms since 1970. */
  constructor(
    queue: JobQueue,
    repository: () => Repository,
    presences: () => readonly AgentPresence[],
    clock: () => number = Date.now,
  ) {
    this.#queue = queue;
    this.#repository = repository;
    this.#clock = clock;
    const adopt = ({ restoreId, order }: RecalledRestore): Promise<void> => this.#adopt(restoreId, order);
    this.#recall = new RestoreRecall({ queue, repository, presences, adopt, clock });
  }

  /** For JobQueue.serveFlows. */
  get handlers(): Record<string, FlowHandler> {
    const handlers: Record<string, FlowHandler> = {
      [flowKind]: restoreHandler(this.#repository, this.#clock),
      [recallKind]: (flow) => this.#recall.step(flow),
    };
    for (const kind of takebackKinds) {
      handlers[takebackFlowKind(kind)] = takebackHandler(kind, this.#repository, this.#clock);
    }
    return handlers;
  }

  /** Its id. Throws SKEP_RUN_UNKNOWN, SKEP_RESTORE_NOT_IN_RUN, SKEP_RESTORE_IN_PROGRESS, and what planRestore throws. */
  async start(request: StartRestore): Promise<string> {
    const repository = this.#repository();
    const found = await readRun(repository.catalogue, request.runId);
    if (found === null) {
      throw new SkepError({
        code: "SKEP_RUN_UNKNOWN",
        message: `there is no finished run ${request.runId}`,
        permanent: true,
        hint: "`skep runs` lists them",
      });
    }
    const restoreId = newRestoreId();
    const order = planRestore(found.run, request, restoreId, new Date(this.#clock()).toISOString());
    // Two restores into one volume would be in each other's way.
    const single = `${order.toNodeId}.${order.targetName}`;
    const open = await this.#queue.openFlow(
      flowKind,
      restoreId,
      { order: repository.sign(order), sealedKeys: null },
      single,
    );
    if (open === restoreId) return restoreId;
    throw new SkepError({
      code: "SKEP_RESTORE_IN_PROGRESS",
      message: `restore ${open} into volume ${order.targetName} of that node has not ended`,
      permanent: true,
      hint: `see it with \`skep restore list\`; without its keys it ends by itself after 15 minutes`,
    });
  }

  /** The second half begins. Throws SKEP_RESTORE_UNKNOWN, SKEP_RESTORE_STATE. */
  async giveKeys(restoreId: string, sealedKeys: string): Promise<void> {
    const flow = await this.#flow(restoreId);
    const { state } = await this.#view(flow);
    if (state !== "prepared") throw wrongState(restoreId, state, "it takes keys once, when it is prepared");
    await this.#queue.tellFlow(restoreId, { ...restoreDataSchema.parse(flow.data), sealedKeys });
  }

  /** Throws SKEP_RESTORE_UNKNOWN, SKEP_RESTORE_STATE. */
  async takeBack(restoreId: string, kind: TakebackKind): Promise<void> {
    const flow = await this.#flow(restoreId);
    const { state } = await this.#view(flow);
    if (kind === "discard" && state === "prepared") {
      await this.#drop(flow);
      return;
    }
    const { order, sealedKeys } = restoreDataSchema.parse(flow.data);
    // One that failed may be in place although nobody could ask its agent: that one knows.
    if (state !== "done" && (state !== "failed" || sealedKeys === null)) {
      throw wrongState(restoreId, state, "only one that is done has a former content");
    }
    if (openRestoreOrder(order, this.#repository()).load !== undefined) {
      throw wrongState(restoreId, state, "what a command loaded can't be taken back, and nothing was kept of before");
    }
    const id = takebackFlowId(restoreId, kind);
    // One that failed (the volume was in use) may be asked for again.
    await this.#queue.forgetEndedFlow(id);
    await this.#queue.openFlow(
      takebackFlowKind(kind),
      id,
      { order, hold: signTakebackHold({ restoreId, holdId: newRestoreId() }, this.#repository()) },
      `${restoreId}.takeback`,
    );
  }

  /** Nothing was changed yet: it just ends, and makes room for another one into that volume. */
  async #drop(flow: FlowView): Promise<void> {
    await this.#queue.tellFlow(flow.id, { ...restoreDataSchema.parse(flow.data), dropped: true });
  }

  /** Throws SKEP_RESTORE_UNKNOWN. */
  async view(restoreId: string): Promise<Restore> {
    return this.#view(await this.#flow(restoreId));
  }

  /** Newest first. One that somebody else put into the queue is left out. After a loss of Redis agents are asked. */
  async list(): Promise<Restore[]> {
    await this.#recall.ifForgotten();
    const flows = await this.#queue.flows(flowKind);
    const views = await Promise.all(
      flows.map((flow) =>
        this.#view(flow).catch((error: unknown) => {
          if (error instanceof SkepError && error.permanent) return null;
          throw error;
        }),
      ),
    );
    return views.filter((view) => view !== null).sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1));
  }

  /** One that Redis lost, or that ended so long ago that it forgot it, is known to the agent that carried it out. */
  async #flow(restoreId: string): Promise<FlowView> {
    let flow = await this.#queue.flow(restoreId);
    if (flow === null) {
      await this.#recall.now();
      flow = await this.#queue.flow(restoreId);
    }
    if (flow?.kind === flowKind) return flow;
    throw new SkepError({
      code: "SKEP_RESTORE_UNKNOWN",
      message: `there is no restore ${restoreId}`,
      permanent: true,
      hint: "`skep restore list` shows those that the controller, and the agents that are there, know of",
    });
  }

  async #adopt(restoreId: string, order: unknown): Promise<void> {
    const data = { order, sealedKeys: null, recalled: true } satisfies z.input<typeof restoreDataSchema>;
    await this.#queue.openFlow(flowKind, restoreId, data);
  }

  async #view(flow: FlowView): Promise<Restore> {
    const { order: signed, sealedKeys, recalled } = restoreDataSchema.parse(flow.data);
    const order = openRestoreOrder(signed, this.#repository());
    const base = viewOf(order);
    // When it ended nobody knows any more.
    if (recalled === true) return { ...base, state: "done", ...(await this.#takebackView(order.restoreId)) };
    if (flow.state === "open") {
      const open = await this.#openView(order, sealedKeys);
      return open === null ? this.#view(await this.#flow(order.restoreId)) : { ...base, ...open };
    }
    const end = endOf(flow);
    if (end.dropped === true) return { ...base, ...fieldsOf(end), state: "discarded" };
    const state = end.result === undefined && end.inPlace !== true ? "failed" : "done";
    return { ...base, ...fieldsOf(end), state, ...(await this.#takebackView(order.restoreId)) };
  }

  /** Null where it has ended since. */
  async #openView(order: RestoreOrder, sealedKeys: string | null): Promise<Partial<Restore> | null> {
    const { restoreId } = order;
    const outcomes = await this.#queue.openOutcomes(restoreId);
    if (outcomes === null) return null;
    const jobId = stepId(restoreId, "restore-prepare", "");
    const sealed = valueOf(outcomes.get(jobId));
    const prepared = sealed === null ? {} : { prepared: { jobId, sealedResult: sealed } };
    const pending = await this.#queue.children(await this.#queue.pending(restoreId));
    const progress = pending.find((child) => child.progress !== null)?.progress;
    const state = sealedKeys !== null ? "restoring" : sealed === null ? "preparing" : "prepared";
    return { state, ...prepared, ...(progress != null && { progress }), ...heldOf(order, outcomes) };
  }

  /** What an undo or a discard has changed since. */
  async #takebackView(restoreId: string): Promise<Partial<Restore>> {
    for (const kind of takebackKinds) {
      const flow = await this.#queue.flow(takebackFlowId(restoreId, kind));
      if (flow === null) continue;
      if (flow.state === "open") return { state: kind === "undo" ? "undoing" : "discarding" };
      const end = endOf(flow);
      if (end.result !== undefined) return { ...fieldsOf(end), state: kind === "undo" ? "undone" : "discarded" };
      return end.error === undefined ? {} : { error: end.error };
    }
    return {};
  }
}

function viewOf(order: RestoreOrder): Restore {
  const { restoreId, runId, nodeId, toNodeId, targetName, stop, startedAt, volume } = order;
  const view = { restoreId, runId, nodeId, volume: volume.name, toNodeId, targetName, stop, startedAt };
  return { ...view, state: "preparing", endedAt: null, heldServices: [] };
}

function endOf(flow: FlowView): RestoreEnd {
  if (flow.error !== null) return { endedAt: new Date(flow.createdAt).toISOString(), error: flow.error };
  return restoreEndSchema.parse(flow.result);
}

function fieldsOf({ endedAt, prepared, result, error }: RestoreEnd): Partial<Restore> {
  return { endedAt, ...(prepared && { prepared }), ...(result && { result }), ...(error && { error }) };
}

function valueOf(outcome: ChildOutcome | undefined): SealedResult | null {
  return outcome?.state === "done" ? (sealedResultSchema.safeParse(outcome.value).data ?? null) : null;
}

/** Names as the agent told them; authenticated when the step is taken, here they are for people. */
function heldOf({ restoreId }: RestoreOrder, outcomes: ReadonlyMap<string, ChildOutcome>): Partial<Restore> {
  const step = (name: RestoreStep): SealedResult | null => valueOf(outcomes.get(stepId(restoreId, name, "")));
  const hold = step("hold");
  if (hold === null || step("release") !== null) return {};
  const { result } = resultPayloadSchema.parse(JSON.parse(hold.payload));
  return result.kind === "hold" ? { heldServices: result.held.map(({ name }) => name) } : {};
}

function newRestoreId(): string {
  return Array.from({ length: 12 }, () => randomInt(36).toString(36)).join("");
}

function wrongState(restoreId: string, state: string, rule: string): SkepError {
  return new SkepError({
    code: "SKEP_RESTORE_STATE",
    message: `restore ${restoreId} is ${state}: ${rule}`,
    permanent: true,
    hint: "`skep restore list` shows the state of each",
  });
}
