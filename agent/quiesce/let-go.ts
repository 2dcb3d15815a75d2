// The end of a quiet: what was paused goes on, what was stopped is started. Not aborted by anything, a full disk
// neither: the engine is told first, then the journal. What can't be done now stays in the journal and is due again:
// whoever looks there next tries anew.
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { fromErrorRecord, SkepError, toErrorRecord } from "../../shared/errors.ts";
import type { Docker } from "../docker.ts";
import type { Journal } from "../journal.ts";
import { isStateFull } from "../state-error.ts";
import { readPauses, writePause, type PauseRecord } from "./pause-record.ts";
import { startAgain } from "./stop-containers.ts";

const startAgainMs = 60_000;

export interface LetGo {
  quiet: TaskResultOf<"unpause">["quiet"];
  /** Names of those that this call let go. */
  wentOn: string[];
  /** The engine is still stopping one: the record stays, and is due at once. */
  isWaiting: boolean;
}

/** Throws SKEP_START_FAILED, what the engine throws, and SKEP_STATE_FULL or SKEP_STATE_UNWRITABLE of the journal, once all had their turn; the record stays then, due at once or, where a start was refused, in a minute. */
export async function letGo(record: PauseRecord, docker: Docker, journal: Journal): Promise<LetGo> {
  const { pauseId, containers } = record;
  const others = (): PauseRecord[] => readPauses(journal).filter((other) => other.pauseId !== pauseId);
  let known = record;
  const note = (more: Partial<PauseRecord>): void => {
    const next = { ...known, ...more };
    writePause(journal, next);
    known = next;
  };
  const faults: SkepError[] = [];
  // One that went on may have been paused by somebody else since.
  const isPaused = record.quietMs === undefined;
  if (isPaused) {
    const woken = await Promise.allSettled(containers.map(({ id }) => docker.unpauseContainer(id)));
    for (const each of woken) if (each.status === "rejected") faults.push(each.reason as SkepError);
    if (faults.length === 0) known = { ...record, quietMs: Math.max(0, Date.now() - Date.parse(record.pausedAt)) };
  }
  const again = await startAgain(record.stops, docker, (id) => {
    try {
      if (!isStoppedBy(others(), id)) return false;
      // At once: that other one must not find it here, and leave it to this one.
      note({ stops: known.stops.map((each) => (each.id === id ? { ...each, quietMs: 0 } : each)) });
      return true;
    } catch {
      // Each of the two would leave it to the other for ever. The other sees that its quiet is broken.
      return false;
    }
  });
  faults.push(...again.faults);
  const quiet = quietTimes({ ...known, stops: again.stops }, Date.now());
  try {
    if (faults.length === 0 && !again.isWaiting) journal.endPause(pauseId, JSON.stringify(quiet), Date.now());
    else {
      // What the engine refuses to start it will refuse a second later.
      const isRefused = faults.length > 0 && faults.every(({ code }) => code === "SKEP_START_FAILED");
      const dueMs = Date.now() + (isRefused && !again.isWaiting ? startAgainMs : 0);
      note({ stops: again.stops, deadlineAt: new Date(dueMs).toISOString() });
    }
  } catch (error) {
    // Where one is waited for it stands there as it did, and is written again in a moment.
    if (!again.isWaiting) faults.push(notNoted(pauseId, error));
  }
  if (faults.length > 0) throw faults[0] as SkepError;
  const woken = isPaused ? containers.map(({ name }) => name) : [];
  return { quiet, wentOn: [...woken, ...again.started], isWaiting: again.isWaiting };
}

/** So far, of those that still stand still. `now`: ms since 1970. */
export function quietTimes({ containers, stops, pausedAt, quietMs }: PauseRecord, now: number): LetGo["quiet"] {
  const since = (time: string): number => Math.max(0, now - Date.parse(time));
  return [
    ...containers.map(({ name }) => ({ name, how: "pause" as const, quietMs: quietMs ?? since(pausedAt) })),
    ...stops.map(({ name, sentAt, quietMs: stoodMs }) => ({
      ...{ name, how: "stop" as const },
      quietMs: stoodMs ?? (sentAt === undefined ? 0 : since(sentAt)),
    })),
  ];
}

/** Those whose deadline has passed: names of containers that went on, and what could not be let go. `now`: ms since 1970; Infinity: all. */
export async function letGoDue(
  docker: Docker,
  journal: Journal,
  now: number,
): Promise<{ wentOn: string[]; faults: SkepError[] }> {
  const wentOn: string[] = [];
  const faults: SkepError[] = [];
  for (const record of readPauses(journal)) {
    if (Date.parse(record.deadlineAt) > now) continue;
    try {
      wentOn.push(...(await letGo(record, docker, journal)).wentOn);
    } catch (error) {
      faults.push(error instanceof SkepError ? error : fromErrorRecord(toErrorRecord(error)));
    }
  }
  return { wentOn, faults };
}

export function notNoted(pauseId: string, thrown: unknown): SkepError {
  return new SkepError({
    code: isStateFull(thrown) ? "SKEP_STATE_FULL" : "SKEP_STATE_UNWRITABLE",
    message: `pause ${pauseId}: what became of it could not be written to the agent's journal: ${(thrown as Error).message}`,
    permanent: false,
    hint: "all that could go on went on; free space where the agent keeps its state, or make it writable: it is tried again",
    cause: thrown,
  });
}

/** Stopped by one of these, and to be started by it. */
export function isStoppedBy(records: readonly PauseRecord[], id: string): boolean {
  return records.some(({ stops }) =>
    stops.some((each) => each.id === id && each.sentAt !== undefined && each.quietMs === undefined),
  );
}
