// One unit of what is quiet together, on this machine: hooks and the quiet, all of its volumes at once, and let go as
// soon as they are read. The same orders as an agent of a swarm gets, in the same order. Services are stopped on a manager
// only, by way of its engine.
//
// An interruption ends what makes it quiet, and what reads it. What lets it go is ordered all the same, each order with a
// time of its own: what one of them used up is not taken from the next. The keeper lets go anyway; hooks after, nobody
// runs but this.
import { setTimeout as wait } from "node:timers/promises";
import type { TaskKind, TaskOf } from "../../../shared/contract/job.ts";
import { isQuietKind, type QuietKind } from "../../../shared/contract/keeper.ts";
import type { TaskResultOf } from "../../../shared/contract/task-result.ts";
import { toErrorRecord, type ErrorRecord } from "../../../shared/errors.ts";
import type { Part } from "../../../shared/repository/run.ts";
import type { OpenChild } from "../../quiet-results.ts";
import { unitOrder, type QuietUnit, type UnitOrder } from "../../quiet-units.ts";
import type { Outcome } from "../../run-plan.ts";
import type { WorkOptions } from "./host.ts";

export interface UnitTools {
  nodeId: string;
  isManager: boolean;
  /** Names of volumes that several nodes see. */
  sharedVolumes: readonly string[];
  /** How long it may be quiet, ms. */
  quietMs: number;
  excludePaths: readonly string[];
  /** Does one job, by the keeper. */
  work: <K extends TaskKind>(kind: K, task: TaskOf<K>, given: WorkOptions) => Promise<TaskResultOf<K>>;
  /** Takes a volume of the unit, by its child id, and tells when it is read. Never rejects but for an interruption. */
  takeVolume: (id: string, onRead: () => void) => Promise<Outcome<Part>>;
  signal: AbortSignal;
  /** Says what an interrupted run, which writes no run object, would keep to itself. */
  warn: (text: string) => void;
  /** For tests. */
  graceMs?: number;
}

type Child = Outcome<TaskResultOf<TaskKind>>;

type QuietOrder = UnitOrder & { task: TaskOf<QuietKind> };

const tries = 3;
const againMs = 2000;
/** Once interrupted, ms: for what only lets go, which the keeper goes on with afterwards. Hooks get the time that they get in a run. */
const defaultGraceMs = 30_000;

export class UnitTaking {
  readonly volumes = new Map<string, Outcome<Part>>();
  readonly #children = new Map<string, Child>();
  readonly #tools: UnitTools;

  constructor(tools: UnitTools) {
    this.#tools = tools;
  }

  /** Of what it ordered for the unit itself. */
  readonly open: OpenChild = <K extends TaskKind>(id: string, kind: K) => {
    const child = this.#children.get(id);
    if (child === undefined || (child.state === "done" && child.result.kind !== kind)) return null;
    return child as Outcome<TaskResultOf<K>>;
  };

  /** What a hook began before the quiet, its counterpart ends, though the run be interrupted. Throws only the signal's reason. */
  async take(unit: QuietUnit): Promise<void> {
    const { quietMs, isManager, sharedVolumes, excludePaths, takeVolume, signal, warn } = this.#tools;
    signal.throwIfAborted();
    const now = Date.now();
    const deadlineAt = new Date(now + quietMs).toISOString();
    const order = (id: string): QuietOrder | null => {
      const found = unitOrder([unit], id, { now, deadlineAt }, sharedVolumes, excludePaths);
      return found !== null && isOfQuiet(found) ? found : null;
    };
    const hold = isManager ? unit.hold : null;
    const owed = unit.nodes.flatMap(({ after }) => after.map(({ volume }) => volume));
    const letGo = async (): Promise<void> => {
      if (signal.aborted && owed.length > 0)
        warn(`interrupted: the hooks after of ${unique(owed)} run first; interrupt again to end without them`);
      if (hold !== null) await this.#end(hold.releaseId, order(hold.releaseId), false);
      for (const node of unit.nodes) {
        const hasHooks = node.after.length > 0;
        for (const id of [node.unpauseId, node.afterId]) if (id !== null) await this.#end(id, order(id), hasHooks);
      }
      if (signal.aborted) for (const node of unit.nodes) this.#tellHooks(node);
    };
    try {
      for (const { pauseId } of unit.nodes) await this.#child(pauseId, order(pauseId), 1, signal);
      if (hold !== null) await this.#child(hold.holdId, order(hold.holdId), 1, signal);
      signal.throwIfAborted();
    } catch (error) {
      // What it was interrupted in goes on in the keeper, until it is told to let go, or closed.
      if (owed.length > 0) await letGo();
      throw error;
    }
    const read = unit.members.map(() => Promise.withResolvers<undefined>());
    const taken = unit.members.map(async (id, at) => {
      const onRead = (): void => {
        read[at]?.resolve(undefined);
      };
      try {
        this.volumes.set(id, await takeVolume(id, onRead));
      } finally {
        onRead();
      }
    });
    // At once: one may fail long before all are read.
    const settled = Promise.allSettled(taken);
    await Promise.all(read.map(({ promise }) => promise));
    const [isLetGo] = await Promise.allSettled([letGo()]);
    for (const each of [...(await settled), isLetGo]) if (each.status === "rejected") throw each.reason;
  }

  /** Not interrupted at once. What has not ended in its time then has no outcome. */
  async #end(id: string, order: QuietOrder | null, hasHooks: boolean): Promise<void> {
    const { signal, graceMs = defaultGraceMs } = this.#tools;
    const ownMs = hasHooks ? (order?.timeoutMs ?? graceMs) : graceMs;
    const late = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const abort = (): void => {
      timer = setTimeout(() => {
        late.abort(signal.reason);
      }, ownMs);
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    try {
      await this.#child(id, order, tries, late.signal);
    } catch (error) {
      if (!late.signal.aborted) throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    }
  }

  #tellHooks({ unpauseId, afterId, after }: QuietUnit["nodes"][number]): void {
    if (after.length === 0) return;
    const child = this.#children.get(afterId ?? unpauseId);
    const why = whyNotRun(child);
    if (why === null) return;
    const volumes = unique(after.map(({ volume }) => volume));
    this.#tools.warn(
      `hooks after of ${volumes}, owed by the interrupted run, ${why}; do by hand what they would have done`,
    );
  }

  /** Throws the signal's reason. */
  async #child(id: string, order: QuietOrder | null, attempts: number, signal: AbortSignal): Promise<void> {
    const { work, nodeId } = this.#tools;
    if (order === null) return;
    const { task } = order;
    const startedAt = new Date().toISOString();
    for (let attempt = 1; ; attempt++) {
      try {
        this.#children.set(id, { state: "done", result: await work(task.kind, task, { attempt, signal }) });
        return;
      } catch (thrown) {
        signal.throwIfAborted();
        const error = toErrorRecord(thrown);
        if (error.permanent || attempt >= attempts) {
          const endedAt = new Date().toISOString();
          const failure = { error, attempts: attempt, startedAt, endedAt, nodeId };
          this.#children.set(id, { state: "failed", failure });
          return;
        }
        await wait(againMs, undefined, { signal }).catch(() => undefined);
        signal.throwIfAborted();
      }
    }
  }
}

/** Null where they ran, or nothing is owed. */
function whyNotRun(child: Child | undefined): string | null {
  if (child === undefined) return "did not come to their end in the time that they have";
  const error = child.state === "failed" ? child.failure.error : faultOf(child.result);
  return error === undefined ? null : `were not run, or not all: ${error.code}: ${error.message}`;
}

function faultOf(result: TaskResultOf<TaskKind>): Pick<ErrorRecord, "code" | "message"> | undefined {
  return result.kind === "unpause" ? result.fault : undefined;
}

function unique(names: readonly string[]): string {
  return [...new Set(names)].join(", ");
}

function isOfQuiet(order: UnitOrder): order is QuietOrder {
  return isQuietKind(order.task.kind);
}
