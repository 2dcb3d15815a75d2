// The orders about one pause, one at a time: none lets it go while it is still being made, and no two run its hooks.
// Whoever lets it go tells the one that makes it to end: where Redis lost the run, nobody else does.
import type { Journal } from "../journal.ts";
import { unlessAborted } from "../../shared/unless-aborted.ts";

class Turns {
  /** Of those that make it quiet, and have not ended. */
  readonly making = new Set<AbortController>();
  #last: Promise<unknown> = Promise.resolve();
  #taken = 0;

  /** Once all that came before have ended. Throws the signal's reason. */
  async take<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const { promise: ended, resolve } = Promise.withResolvers<undefined>();
    this.#last = before.then(() => ended);
    this.#taken++;
    try {
      await unlessAborted(before, signal);
      return await work();
    } finally {
      this.#taken--;
      resolve(undefined);
    }
  }

  get isIdle(): boolean {
    return this.#taken === 0;
  }
}

/** By pause id. An agent's pauses are those of its journal. */
const turnsOf = new WeakMap<Journal, Map<string, Turns>>();

async function withTurns<T>(journal: Journal, pauseId: string, work: (turns: Turns) => Promise<T>): Promise<T> {
  const all = turnsOf.get(journal) ?? new Map<string, Turns>();
  turnsOf.set(journal, all);
  const turns = all.get(pauseId) ?? new Turns();
  all.set(pauseId, turns);
  try {
    return await work(turns);
  } finally {
    if (turns.isIdle) all.delete(pauseId);
  }
}

/** The signal that `work` gets is also aborted by `letGoInTurn`. Throws as `signal` says, and what `work` throws. */
export function makeInTurn<T>(
  journal: Journal,
  pauseId: string,
  signal: AbortSignal,
  work: (wanted: AbortSignal) => Promise<T>,
): Promise<T> {
  return withTurns(journal, pauseId, async (turns) => {
    const unwanted = new AbortController();
    turns.making.add(unwanted);
    try {
      return await turns.take(signal, () => work(AbortSignal.any([signal, unwanted.signal])));
    } finally {
      turns.making.delete(unwanted);
    }
  });
}

/** What is being made ends with `reason`, and is waited for. Throws as `signal` says, and what `work` throws. */
export function letGoInTurn<T>(
  journal: Journal,
  pauseId: string,
  reason: Error,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  return withTurns(journal, pauseId, async (turns) => {
    for (const each of turns.making) each.abort(reason);
    return await turns.take(signal, work);
  });
}
