// Tends the open flows: hands out held jobs as places come free, and ends those whose agent is gone or whose time is
// over, so that no flow waits for ever; and sees when Redis lost one, as after it moved to another node. It keeps
// nothing that Redis doesn't tell it again after a restart.
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import type { Signed } from "../shared/repository/signature.ts";
import type { Agents } from "./agents.ts";
import type { ChildRef, FlowView } from "./flow.ts";
import type { JobQueue } from "./queue.ts";
import { isRead, nextOfUnits, type QuietUnit } from "./quiet-units.ts";
import { chooseNext, giveUp } from "./watch.ts";

/** What a flow with held jobs wants, from what is authenticated. */
export interface Dispatching {
  nodesAtOnce: number;
  jobsPerNode: number;
  jitterMs: number;
  /** ms since 1970. */
  since: number;
  runId: string;
  /** Jobs that go out in an order of their own. */
  units: readonly QuietUnit[];
  /** Signed anew for each dispatch: its expiry counts from then. Null: no job of this flow. */
  order: (childId: string, now: number) => Signed | null;
}

export interface TenderTimings {
  everyMs: number;
  /** Between two looks at what is out. */
  watchMs: number;
  /** How long an agent may be silent before its jobs are given up. */
  graceMs: number;
}
export const defaultTenderTimings: TenderTimings = { everyMs: 250, watchMs: 2000, graceMs: 90_000 };

/** Children known to be held, of one flow. */
interface Tended {
  known: Set<string>;
  held: Map<string, ChildRef>;
  watchedAt: number;
}

export class Tender {
  readonly #queue: JobQueue;
  readonly #agents: Agents;
  readonly #dispatching: (flow: FlowView) => Promise<Dispatching | null>;
  readonly #log: Logger;
  readonly #timings: TenderTimings;
  readonly #onLost: (flow: FlowView) => Promise<void>;
  readonly #tended = new Map<string, Tended>();
  /** As they were at the last look. */
  readonly #open = new Map<string, FlowView>();
  #heardAt = 0;

  constructor(options: {
    queue: JobQueue;
    agents: Agents;
    /** Null for a flow that holds nothing back. */
    dispatching: (flow: FlowView) => Promise<Dispatching | null>;
    /** Told, again until it succeeds, of a flow that was open and that Redis does not know any more. */
    onLost: (flow: FlowView) => Promise<void>;
    log: Logger;
    timings: TenderTimings;
  }) {
    this.#queue = options.queue;
    this.#agents = options.agents;
    this.#dispatching = options.dispatching;
    this.#onLost = options.onLost;
    this.#log = options.log;
    this.#timings = options.timings;
  }

  /** Until the signal. While Redis is away it waits; what fails otherwise is said, and tried again. */
  async run(signal: AbortSignal): Promise<void> {
    let told = "";
    while (!signal.aborted) {
      if (this.#queue.ready) {
        try {
          await this.tend(Date.now());
          told = "";
        } catch (error) {
          const record = toErrorRecord(error);
          if (record.message !== told) this.#log.warn({ error: record }, "the flows could not be tended; trying on");
          told = record.message;
        }
      }
      await sleep(this.#timings.everyMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async tend(now: number): Promise<void> {
    if (now - this.#heardAt >= this.#timings.watchMs) {
      this.#heardAt = now;
      this.#agents.listen(await this.#queue.side.heartbeats(this.#agents.nodeIds), now);
    }
    const flows = await this.#queue.openFlows();
    for (const [id, former] of this.#open) {
      if (flows.some((flow) => flow.id === id)) continue;
      this.#tended.delete(id);
      if ((await this.#queue.flow(id)) === null) {
        this.#log.error({ flow: id, kind: former.kind }, "Redis lost this flow before it ended");
        await this.#onLost(former);
      }
      this.#open.delete(id);
    }
    for (const flow of flows) {
      this.#open.set(flow.id, flow);
      await this.#tendFlow(flow, now);
    }
  }

  async #tendFlow(flow: FlowView, now: number): Promise<void> {
    const pending = await this.#queue.pending(flow.id);
    if (pending.length === 0) return;
    const tended = this.#tended.get(flow.id) ?? { known: new Set(), held: new Map<string, ChildRef>(), watchedAt: 0 };
    this.#tended.set(flow.id, tended);
    const fresh = await this.#queue.children(pending.filter(({ id }) => !tended.known.has(id)));
    for (const child of fresh) {
      tended.known.add(child.id);
      if (child.state === "held") tended.held.set(child.id, child);
    }
    const open = new Set(pending.map(({ id }) => id));
    for (const id of tended.held.keys()) if (!open.has(id)) tended.held.delete(id);
    const out = pending.filter(({ id }) => !tended.held.has(id));
    if (now - tended.watchedAt >= this.#timings.watchMs) {
      tended.watchedAt = now;
      await this.#watch(flow, out, [...tended.held.values()], now);
    }
    if (tended.held.size > 0) await this.#dispatch(flow, tended, out, now);
  }

  async #watch(flow: FlowView, out: readonly ChildRef[], held: readonly ChildRef[], now: number): Promise<void> {
    const { graceMs } = this.#timings;
    const silent = held.filter((ref) => this.#silentMs(ref) >= graceMs);
    const children = await this.#queue.children([...out, ...silent]);
    // Which were pending before they were looked at: one that ended between the two is none that was lost.
    const pending = new Set((await this.#queue.pending(flow.id)).map(({ id }) => id));
    for (const child of children) {
      const error = giveUp(child, this.#silentMs(child), graceMs, now);
      if (error === null || !pending.has(child.id)) continue;
      this.#log.warn({ flow: flow.id, job: child.id, state: child.state, error: toErrorRecord(error) }, error.message);
      await this.#queue.abandon(flow.id, child, error);
    }
  }

  #silentMs({ queue }: ChildRef): number {
    const nodeId = nodeOf(queue);
    return nodeId === null ? this.#agents.managersSilentMs() : this.#agents.silentMs(nodeId);
  }

  async #nextOfUnits(
    { units, nodesAtOnce, jobsPerNode }: Dispatching,
    tended: Tended,
    out: readonly ChildRef[],
    busy: ReadonlyMap<string, number>,
  ): ReturnType<typeof nextOfUnits> extends infer Next ? Promise<Next> : never {
    if (units.length === 0) return { now: [], wait: new Set() };
    const members = new Set(units.flatMap((unit) => unit.members));
    const reading = await this.#queue.children(out.filter(({ id }) => members.has(id)));
    const queues = new Map([...tended.held.values(), ...out].map(({ id, queue }) => [id, queue]));
    return nextOfUnits(units, {
      held: new Set(tended.held.keys()),
      open: new Set(queues.keys()),
      read: new Set(reading.filter(({ progress }) => isRead(progress)).map(({ id }) => id)),
      nodeOf: (id) => nodeOf(queues.get(id) ?? "") ?? "",
      out: busy,
      nodesAtOnce,
      jobsPerNode,
    });
  }

  async #dispatch(flow: FlowView, tended: Tended, out: readonly ChildRef[], now: number): Promise<void> {
    const wanted = await this.#dispatching(flow);
    if (wanted === null) return;
    const { nodesAtOnce, jobsPerNode, jitterMs, since, runId } = wanted;
    const busy = new Map<string, number>();
    for (const { queue } of out) {
      const nodeId = nodeOf(queue);
      if (nodeId !== null) busy.set(nodeId, (busy.get(nodeId) ?? 0) + 1);
    }
    const inUnits = await this.#nextOfUnits(wanted, tended, out, busy);
    const held = [...tended.held.values()]
      .filter(({ id }) => !inUnits.wait.has(id))
      .map(({ id, queue }) => ({ id, nodeId: nodeOf(queue) ?? "" }));
    const sinceMs = now - since;
    const others = chooseNext({ held, out: busy, nodesAtOnce, jobsPerNode, runId, sinceMs, jitterMs });
    for (const id of [...inUnits.now, ...others]) {
      const ref = tended.held.get(id);
      const order = wanted.order(id, now);
      if (ref === undefined) continue;
      if (order === null) await this.#queue.abandon(flow.id, ref, notPlanned(id));
      else await this.#queue.dispatch(ref, order);
      tended.held.delete(id);
    }
  }
}

function notPlanned(id: string): SkepError {
  return new SkepError({
    code: "SKEP_JOB_FOREIGN",
    message: `job ${id} follows from no plan of its run`,
    permanent: true,
    hint: "somebody other than the controller wrote to the queue",
  });
}

function nodeOf(queue: string): string | null {
  return queue.startsWith("node-") ? queue.slice(5) : null;
}
