// One unit of what is quiet together, on this machine: hooks and the quiet, all of its volumes at once, and let go as
// soon as they are read. The same orders as an agent of a swarm gets, in the same order.
import { setTimeout as wait } from "node:timers/promises";
import type { TaskKind, TaskOf, TaskResultOf } from "../../../shared/contract/job.ts";
import { toErrorRecord } from "../../../shared/errors.ts";
import type { Part } from "../../../shared/repository/run.ts";
import type { OpenChild } from "../../quiet-results.ts";
import { unitOrder, type QuietUnit } from "../../quiet-units.ts";
import type { Outcome } from "../../run-plan.ts";
import type { WorkOptions } from "./host.ts";

export interface UnitTools {
  nodeId: string;
  /** How long it may be quiet, ms. */
  quietMs: number;
  excludePaths: readonly string[];
  /** Does one job, by the keeper. */
  work: <K extends TaskKind>(kind: K, task: TaskOf<K>, given: WorkOptions) => Promise<TaskResultOf<K>>;
  /** Takes a volume of the unit, by its child id, and tells when it is read. Never rejects but for an interruption. */
  takeVolume: (id: string, onRead: () => void) => Promise<Outcome<Part>>;
  signal: AbortSignal;
}

type Child = Outcome<TaskResultOf<TaskKind>>;

const tries = 3;
const againMs = 2000;
/** Once interrupted: for hooks that ran, and whose counterparts are to run too, ms. */
const graceMs = 30_000;

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
    const { quietMs, excludePaths, takeVolume, signal } = this.#tools;
    const now = Date.now();
    const deadlineAt = new Date(now + quietMs).toISOString();
    const order = (id: string): TaskOf<"pause" | "unpause"> | null => {
      const task = unitOrder([unit], id, { now, deadlineAt }, [], excludePaths)?.task;
      return task?.kind === "pause" || task?.kind === "unpause" ? task : null;
    };
    const hasAfter = unit.nodes.some(({ after }) => after.length > 0);
    const until = hasAfter ? signalWithGrace(signal) : signal;
    for (const { pauseId } of unit.nodes) await this.#child(pauseId, order(pauseId), 1, until);
    const letGo = async (): Promise<void> => {
      for (const { unpauseId } of unit.nodes) await this.#child(unpauseId, order(unpauseId), tries, until);
    };
    if (signal.aborted) {
      await letGo();
      throw signal.reason;
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

  async #child(
    id: string,
    task: TaskOf<"pause" | "unpause"> | null,
    attempts: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { work, nodeId } = this.#tools;
    if (task === null) return;
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

/** Aborted with its reason a while after it is. */
function signalWithGrace(signal: AbortSignal): AbortSignal {
  const late = new AbortController();
  const abort = (): void => {
    setTimeout(() => {
      late.abort(signal.reason);
    }, graceMs).unref();
  };
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  return late.signal;
}
