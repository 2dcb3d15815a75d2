// What a standalone run keeps quiet, and what one that was killed left so: a lock and a journal in the state folder.
// The journal is gone when nothing is left to be undone, so that a later command sees at once whether there is.
import { rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ZodError } from "zod";
import { standaloneJournal, type Undone } from "../shared/contract/keeper.ts";
import { toErrorRecord, type ErrorRecord } from "../shared/errors.ts";
import type { Docker } from "./docker.ts";
import { HostLock } from "./host-lock.ts";
import { Journal } from "./journal.ts";
import { Moments } from "./moment/moments.ts";
import { letGoDue } from "./quiesce/let-go.ts";
import { readPauses, type PauseRecord } from "./quiesce/pause-record.ts";
import { stopsEndBy } from "./quiesce/stopped-container.ts";
import { explainFullState } from "./state-error.ts";

const pollMs = 500;
const lookMs = 1000;
/** For an engine that does not answer. */
const defaultPatienceMs = 120_000;

export class QuietKeeping {
  readonly journal: Journal;
  readonly moments: Moments;
  readonly #file: string;
  readonly #lock: HostLock;
  readonly #docker: Docker;
  readonly #patienceMs: number;
  /** Their ids: they were waited for in vain, and get but one try from then on. */
  readonly #waitedFor = new Set<string>();
  /** So was for the journal. */
  #isUnread = false;
  readonly #letting = new Loop((now) => this.#letGoDue(now));
  readonly #tending = new Loop((now) => this.#tend(now));

  private constructor(file: string, lock: HostLock, journal: Journal, docker: Docker, patienceMs: number) {
    this.#file = file;
    this.#lock = lock;
    this.journal = journal;
    this.moments = new Moments(journal);
    this.#docker = docker;
    this.#patienceMs = patienceMs;
  }

  /** Throws SKEP_STANDALONE_BUSY, SKEP_STATE_DAMAGED. `patienceMs`: for tests. */
  static open(stateDir: string, docker: Docker, patienceMs = defaultPatienceMs): QuietKeeping {
    const lock = new HostLock(path.join(stateDir, "standalone.lock"));
    const file = path.join(stateDir, standaloneJournal);
    try {
      return new QuietKeeping(file, lock, new Journal(file), docker, patienceMs);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** Until close(): lets go what is due, and beside that tends the moments, of which one may be large and slow to remove. What can't be is tried again at the next look, and said in the end. */
  watch(): void {
    this.#letting.begin();
    this.#tending.begin();
  }

  /** All that is in the journal, whoever wrote it; what can't be undone stays there. Never rejects. */
  async undoLeft(): Promise<Undone> {
    const { wentOn, faults } = await this.letGoAll();
    const { removed, faults: kept } = await this.#removeMoments();
    return { wentOn, removed, faults: [...faults, ...kept] };
  }

  /** All that is quiet, waiting for an engine that doesn't answer, or is still stopping a container. What can't be let go stays in the journal. Never rejects. */
  async letGoAll(): Promise<Pick<Undone, "wentOn" | "faults">> {
    // It does the same, and is not to do it at once.
    const isWatching = await this.#letting.end();
    try {
      return await this.#letGoAll();
    } finally {
      if (isWatching) this.#letting.begin();
    }
  }

  async #letGoAll(): Promise<Pick<Undone, "wentOn" | "faults">> {
    const wentOn: string[] = [];
    const patientUntil = Date.now() + this.#patienceMs;
    for (;;) {
      let faults: ErrorRecord[];
      let left: PauseRecord[] | null = null;
      try {
        const due = await letGoDue(this.#docker, this.journal, Infinity);
        wentOn.push(...due.wentOn);
        faults = due.faults.map(toErrorRecord);
        left = readPauses(this.journal);
        if (left.length === 0) return { wentOn, faults };
      } catch (error) {
        faults = [this.#faultOf(error)];
      }
      const now = Date.now();
      const isHopeless = faults.length > 0 && faults.every(({ permanent, code }) => permanent || code === startFailed);
      const mayHelp = !isHopeless || (left ?? []).some((record) => isStopping(record, now));
      const until = Math.max(patientUntil, ...(left ?? []).map((record) => stopsEndBy(record) + 2 * pollMs));
      const isNew = left?.some(({ pauseId }) => !this.#waitedFor.has(pauseId)) ?? !this.#isUnread;
      if (!mayHelp || !isNew || now > until) {
        for (const { pauseId } of left ?? []) this.#waitedFor.add(pauseId);
        this.#isUnread = left === null;
        return { wentOn, faults: faults.length > 0 ? faults : [stillQuiet(left ?? [])] };
      }
      await sleep(pollMs);
    }
  }

  async #removeMoments(): Promise<Pick<Undone, "removed" | "faults">> {
    try {
      // Given up while something was quiet; what tend() can't remove stays in the journal, for the next line.
      await this.#tend(Date.now());
      const { removed, warnings } = await this.moments.removeLeft();
      const faults = warnings.map(({ code, message }) => ({
        code: code as ErrorRecord["code"],
        message,
        permanent: false,
      }));
      return { removed, faults };
    } catch (error) {
      return { removed: [], faults: [this.#faultOf(error)] };
    }
  }

  async #letGoDue(now: number): Promise<void> {
    await letGoDue(this.#docker, this.journal, now);
  }

  async #tend(now: number): Promise<void> {
    const quiet = new Set(readPauses(this.journal).map(({ pauseId }) => pauseId));
    await this.moments.tend(now, quiet);
  }

  /** Undoes all. Null where nothing is left, and nothing went wrong meanwhile; else why. Never rejects. */
  async close(): Promise<Undone["faults"][number] | null> {
    await this.#letting.end();
    const { faults } = await this.#letGoAll();
    await this.#tending.end();
    faults.push(...(await this.#removeMoments()).faults);
    for (const { fault } of [this.#letting, this.#tending])
      if (fault !== null) faults.push(this.#faultOf(fault.thrown));
    try {
      const isEmpty = this.journal.pauses().length === 0 && this.journal.moments().length === 0;
      this.journal.close();
      if (isEmpty) for (const end of ["", "-wal", "-shm"]) await rm(this.#file + end, { force: true });
    } catch (error) {
      faults.push(this.#faultOf(error));
    }
    this.#lock.release();
    return faults[0] ?? null;
  }

  /** Of what went wrong with the journal. */
  #faultOf(thrown: unknown): ErrorRecord {
    const explained = explainFullState(thrown, "keep the journal", path.dirname(this.#file));
    const isOfJournal = explained instanceof SyntaxError || explained instanceof ZodError;
    if (!isOfJournal) return toErrorRecord(explained);
    return {
      code: "SKEP_STATE_DAMAGED",
      message: `the journal ${this.#file} holds what this version can't read`,
      permanent: true,
      hint: "`docker unpause` and `docker start` what stands still, then move the file away",
    };
  }
}

/** Does something again and again; what it throws keeps it from nothing. */
class Loop {
  /** The last one. */
  fault: { thrown: unknown } | null = null;
  readonly #act: (now: number) => Promise<void>;
  #running: { ended: AbortController; done: Promise<void> } | null = null;

  constructor(act: (now: number) => Promise<void>) {
    this.#act = act;
  }

  begin(): void {
    const ended = new AbortController();
    this.#running ??= { ended, done: this.#run(ended.signal) };
  }

  /** When its last act is over. Whether it ran at all. */
  async end(): Promise<boolean> {
    const running = this.#running;
    running?.ended.abort();
    await running?.done;
    this.#running = null;
    return running !== null;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#act(Date.now());
      } catch (thrown) {
        this.fault = { thrown };
      }
      await sleep(lookMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

const startFailed = "SKEP_START_FAILED";

/** One that the engine refused to start is due later. */
function isStopping(record: PauseRecord, now: number): boolean {
  return Date.parse(record.deadlineAt) <= now && stopsEndBy(record) > now;
}

function stillQuiet(left: readonly PauseRecord[]): ErrorRecord {
  const names = left.flatMap(({ containers, stops, quietMs }) => [
    ...(quietMs === undefined ? containers : []).map(({ name }) => name),
    ...stops.filter((each) => each.sentAt !== undefined && each.quietMs === undefined).map(({ name }) => name),
  ]);
  return {
    code: startFailed,
    message: `the engine has not yet stopped what is to be started again: ${names.join(", ")}`,
    permanent: false,
    hint: "once it is down, `skep resume` starts it again",
  };
}
