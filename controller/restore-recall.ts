// Restores that the queue does not know any more: Redis was lost, or they ended long ago. The agents' journals are the
// truth of what was done to a volume, and keep each restore's order as this controller signed it: so they are asked, as
// a flow, and each restore that is in place becomes an ended flow again, which can be listed, undone and discarded.
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { openResult } from "../shared/contract/signed-job.ts";
import { queueNames } from "../shared/contract/queues.ts";
import { SkepError } from "../shared/errors.ts";
import type { AgentPresence } from "./run-plan.ts";
import type { ChildOutcome, Flow, FlowNext, NewChild } from "./flow.ts";
import type { JobQueue } from "./queue.ts";
import type { Repository } from "./repository.ts";
import { openRestoreOrder } from "./restore-order.ts";
import { childId } from "./run-plan.ts";

export const recallKind = "restore-recall";

const recallDataSchema = z.strictObject({ asked: z.boolean() });
const recallEndSchema = z.strictObject({ askedAll: z.boolean() });

/** An agent that was silent for longer is not asked, ms. */
const presentMs = 30_000;
const jobMs = 60_000;
/** How long somebody who wants a list waits for slow agents, ms; what they answer later is in the next list. */
const patienceMs = 15_000;
const lookMs = 100;
/** Ended flows go after a while: so it is asked once a day even where Redis lost nothing, ms. */
const freshMs = 24 * 3_600_000;
const askedMark = "restores-recalled";

/** A restore that is in place on a node, as its agent keeps it. */
export interface RecalledRestore {
  restoreId: string;
  /** Signed by this controller. */
  order: unknown;
}

export class RestoreRecall {
  readonly #queue: JobQueue;
  readonly #repository: () => Repository;
  readonly #presences: () => readonly AgentPresence[];
  readonly #adopt: (restore: RecalledRestore) => Promise<void>;
  readonly #clock: () => number;

  constructor(options: {
    queue: JobQueue;
    repository: () => Repository;
    presences: () => readonly AgentPresence[];
    /** Makes it known to the queue, unless it is. */
    adopt: (restore: RecalledRestore) => Promise<void>;
    /** ms since 1970. */
    clock: () => number;
  }) {
    this.#queue = options.queue;
    this.#repository = options.repository;
    this.#presences = options.presences;
    this.#adopt = options.adopt;
    this.#clock = options.clock;
  }

  /** Asks the agents, unless Redis still knows that all were asked within a day. */
  async ifForgotten(): Promise<void> {
    if ((await this.#queue.side.kept(askedMark)) === null) await this.now();
  }

  /** Asks the agents, and waits a while for their answers. */
  async now(): Promise<void> {
    const id = `${recallKind}-${this.#clock().toString(36)}`;
    const open = await this.#queue.openFlow(recallKind, id, { asked: false }, recallKind);
    const deadline = this.#clock() + patienceMs;
    while (this.#clock() < deadline) {
      const flow = await this.#queue.flow(open);
      if (flow === null || flow.state !== "open") {
        const { askedAll } = recallEndSchema.safeParse(flow?.result).data ?? { askedAll: false };
        if (askedAll) await this.#queue.side.keep(askedMark, new Date(this.#clock()).toISOString(), freshMs);
        return;
      }
      await sleep(lookMs);
    }
  }

  /** The handler of its flow. */
  async step(flow: Flow): Promise<FlowNext> {
    const { asked } = recallDataSchema.parse(flow.data);
    if (!asked) {
      await flow.addChildren(this.#questions(flow.id));
      await flow.save({ asked: true });
      return { next: "children" };
    }
    const outcomes = await flow.outcomes();
    let answered = 0;
    for (const [jobId, outcome] of outcomes) {
      const restores = this.#answerOf(jobId, outcome);
      if (restores === null) continue;
      answered++;
      for (const restore of restores) await this.#adopt(restore);
    }
    return { next: "done", result: { askedAll: answered === this.#presences().length } };
  }

  #questions(flowId: string): NewChild[] {
    const present = this.#presences().filter(({ silentMs }) => silentMs < presentMs);
    return present.map(({ nodeId }) => {
      const id = childId(flowId, "restore-list", nodeId);
      const order = { id, target: { kind: "node" as const, nodeId }, task: { kind: "restore-list" as const } };
      const data = this.#repository().order({ ...order, timeoutMs: jobMs }, this.#clock());
      return { queue: queueNames.node(nodeId), id, attempts: 1, data };
    });
  }

  /** Null where its agent gave none. */
  #answerOf(jobId: string, outcome: ChildOutcome): RecalledRestore[] | null {
    if (outcome.state === "failed") return null;
    const opened = orNull(() => openResult(outcome.value, jobId, (id) => this.#repository().resultKeyOf(id)));
    if (opened?.result.kind !== "restore-list") return null;
    const { writerId } = opened;
    return opened.result.restores.filter(({ restoreId, order: signed }) => {
      // Signed by this controller, for that very node.
      const order = orNull(() => openRestoreOrder(signed, this.#repository()));
      return order?.restoreId === restoreId && order.toNodeId === writerId;
    });
  }
}

/** Null for what is not authentic. */
function orNull<T>(open: () => T): T | null {
  try {
    return open();
  } catch (error) {
    if (error instanceof SkepError) return null;
    throw error;
  }
}
