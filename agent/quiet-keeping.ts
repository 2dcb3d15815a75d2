// What a standalone run keeps quiet, and what one that was killed left so: a lock and a journal in the state folder.
// The journal is gone when nothing is left to be undone, so that a later command sees at once whether there is.
import { rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ZodError } from "zod";
import { holdLabels } from "../shared/contract/hold-record.ts";
import { standaloneJournal, type Undone } from "../shared/contract/keeper.ts";
import { toErrorRecord, type ErrorRecord } from "../shared/errors.ts";
import type { Docker } from "./docker.ts";
import { HostLock } from "./host-lock.ts";
import { Journal } from "./journal.ts";
import { Moments } from "./moment/moments.ts";
import { describeHold, readHolds, type HoldNote } from "./quiesce/hold-note.ts";
import { releaseDue, settleHolds } from "./quiesce/kept-holds.ts";
import { letGoDue } from "./quiesce/let-go.ts";
import { readPauses, type PauseRecord } from "./quiesce/pause-record.ts";
import { stopsEndBy } from "./quiesce/stopped-container.ts";
import { explainFullState } from "./state-error.ts";

const pollMs = 500;
const lookMs = 1000;
/** For an engine that does not answer. */
const defaultPatienceMs = 120_000;

export interface KeepingOptions {
  /** For tests. */
  patienceMs?: number;
  /** Is told once of what nobody can undo from here, and what is forgotten therefore. */
  onLost?: (fault: ErrorRecord) => void;
}

export class QuietKeeping {
  readonly journal: Journal;
  readonly moments: Moments;
  readonly #file: string;
  readonly #lock: HostLock;
  readonly #docker: Docker;
  readonly #patienceMs: number;
  readonly #onLost: (fault: ErrorRecord) => void;
  /** Their ids: they were waited for in vain, and get but one try from then on. */
  readonly #waitedFor = new Set<string>();
  /** So was for the journal. */
  #isUnread = false;
  readonly #letting = new Loop((now) => this.#letGoDue(now));
  readonly #tending = new Loop((now) => this.#tend(now));

  private constructor(lock: HostLock, journal: Journal, docker: Docker, given: Required<KeepingOptions>) {
    this.#file = journal.file;
    this.#lock = lock;
    this.journal = journal;
    this.moments = new Moments(journal);
    this.#docker = docker;
    this.#patienceMs = given.patienceMs;
    this.#onLost = given.onLost;
  }

  /** Throws SKEP_STANDALONE_BUSY, SKEP_STATE_DAMAGED. */
  static open(
    stateDir: string,
    docker: Docker,
    { patienceMs = defaultPatienceMs, onLost = () => undefined }: KeepingOptions = {},
  ): QuietKeeping {
    const lock = new HostLock(path.join(stateDir, "standalone.lock"));
    try {
      const journal = new Journal(path.join(stateDir, standaloneJournal));
      return new QuietKeeping(lock, journal, docker, { patienceMs, onLost });
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
    await settleHolds(this.#docker, this.journal);
    const { wentOn, released, faults } = await this.letGoAll();
    const { removed, faults: kept } = await this.#removeMoments();
    return { wentOn, released, removed, faults: [...faults, ...kept] };
  }

  /** All that is quiet, waiting for an engine that doesn't answer, or is still stopping a container. What can't be let go stays in the journal. Never rejects. */
  async letGoAll(): Promise<Pick<Undone, "wentOn" | "released" | "faults">> {
    // It does the same, and is not to do it at once.
    const isWatching = await this.#letting.end();
    try {
      return await this.#letGoAll();
    } finally {
      if (isWatching) this.#letting.begin();
    }
  }

  async #letGoAll(): Promise<Pick<Undone, "wentOn" | "released" | "faults">> {
    const wentOn: string[] = [];
    const released: string[] = [];
    const patientUntil = Date.now() + this.#patienceMs;
    for (;;) {
      const faults: ErrorRecord[] = [];
      let left: PauseRecord[] | null = null;
      let holds: HoldNote[] | null = null;
      // What keeps one of the two from being read is no reason to leave the other as it is.
      try {
        const due = await letGoDue(this.#docker, this.journal, Infinity);
        wentOn.push(...due.wentOn);
        faults.push(...due.faults.map(toErrorRecord));
        left = readPauses(this.journal);
      } catch (error) {
        faults.push(this.#faultOf(error));
      }
      try {
        const held = await this.#releaseDue(Infinity);
        released.push(...held.released);
        faults.push(...held.faults.map(toErrorRecord));
        holds = readHolds(this.journal);
      } catch (error) {
        faults.push(this.#faultOf(error));
      }
      if (left?.length === 0 && holds?.length === 0) return { wentOn, released, faults };
      const now = Date.now();
      const isHopeless = faults.length > 0 && faults.every(({ permanent, code }) => permanent || code === startFailed);
      const mayHelp = !isHopeless || (left ?? []).some((record) => isStopping(record, now));
      const until = Math.max(patientUntil, ...(left ?? []).map((record) => stopsEndBy(record) + 2 * pollMs));
      const ids =
        left === null || holds === null
          ? null
          : [...left.map(({ pauseId }) => pauseId), ...holds.map(({ holdId }) => holdId)];
      const isNew = ids?.some((id) => !this.#waitedFor.has(id)) ?? !this.#isUnread;
      if (!mayHelp || !isNew || now > until) {
        for (const id of ids ?? []) this.#waitedFor.add(id);
        this.#isUnread = ids === null;
        return { wentOn, released, faults: faults.length > 0 ? faults : [this.#stillQuiet(left ?? [], holds ?? [])] };
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
    try {
      await letGoDue(this.#docker, this.journal, now);
    } finally {
      await this.#releaseDue(now);
    }
  }

  async #releaseDue(now: number): Promise<Omit<Awaited<ReturnType<typeof releaseDue>>, "lost">> {
    const { lost, ...done } = await releaseDue(this.#docker, this.journal, now);
    for (const fault of lost) this.#onLost(toErrorRecord(fault));
    return done;
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
      const { journal } = this;
      const isEmpty = journal.pauses().length + journal.holds().length + journal.moments().length === 0;
      this.journal.close();
      if (isEmpty) for (const end of ["", "-wal", "-shm"]) await rm(this.#file + end, { force: true });
    } catch (error) {
      faults.push(this.#faultOf(error));
    }
    this.#lock.release();
    return faults[0] ?? null;
  }

  /** Of what was waited for in vain, though nothing refused it. */
  #stillQuiet(left: readonly PauseRecord[], holds: readonly HoldNote[]): ErrorRecord {
    const standing = [...left.flatMap(describeStanding), ...holds.map(describeKept)];
    return {
      code: left.length > 0 ? startFailed : "SKEP_HOLD_STUCK",
      message: `still quiet after it was to go on, and noted in ${this.#file}: ${standing.join("; ")}`,
      permanent: false,
      hint: "`skep resume` lets it go, once the engine is done with what it was told before",
    };
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
      hint: `\`docker unpause\` and \`docker start\` what stands still, give the services back that configs labelled ${holdLabels.hold} tell of, then move the file away`,
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

/** Of those that the engine is still stopping, and is to start once that is done; here, on this machine. */
function describeStanding({ containers, stops, pausedAt, quietMs }: PauseRecord): string[] {
  const paused = quietMs === undefined ? containers : [];
  const stopping = stops.filter((each) => each.sentAt !== undefined && each.quietMs === undefined);
  return [
    ...paused.map(({ name }) => `container ${name} of this machine, paused since ${pausedAt}`),
    ...stopping.map(({ name, sentAt }) => `container ${name} of this machine, told to stop at ${sentAt ?? "no time"}`),
  ];
}

function describeKept(note: HoldNote): string {
  return `${describeHold(note)} in the swarm, since ${note.notedAt}`;
}
