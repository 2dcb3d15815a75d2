// What a standalone run keeps quiet, and what one that was killed left so: a lock and a journal in the state folder.
// The journal is gone when nothing is left to be undone, so that a later command sees at once whether there is.
import { rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { standaloneJournal, type Undone } from "../shared/contract/keeper.ts";
import { toErrorRecord, type ErrorRecord } from "../shared/errors.ts";
import type { Docker } from "./docker.ts";
import { HostLock } from "./host-lock.ts";
import { Journal } from "./journal.ts";
import { Moments } from "./moment/moments.ts";
import { letGoDue } from "./quiesce/let-go.ts";
import { readPauses } from "./quiesce/pause-record.ts";

const pollMs = 500;
/** For an engine that is still stopping a container. */
const patienceMs = 120_000;

export class QuietKeeping {
  readonly journal: Journal;
  readonly moments: Moments;
  readonly #file: string;
  readonly #lock: HostLock;
  readonly #docker: Docker;

  private constructor(file: string, lock: HostLock, journal: Journal, docker: Docker) {
    this.#file = file;
    this.#lock = lock;
    this.journal = journal;
    this.moments = new Moments(journal);
    this.#docker = docker;
  }

  /** Throws SKEP_STANDALONE_BUSY, SKEP_STATE_DAMAGED. */
  static open(stateDir: string, docker: Docker): QuietKeeping {
    const lock = new HostLock(path.join(stateDir, "standalone.lock"));
    const file = path.join(stateDir, standaloneJournal);
    try {
      return new QuietKeeping(file, lock, new Journal(file), docker);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** All that is in the journal, whoever wrote it; what can't be undone stays there. */
  async undoLeft(): Promise<Undone> {
    const wentOn: string[] = [];
    let faults: ErrorRecord[];
    const until = Date.now() + patienceMs;
    for (;;) {
      const due = await letGoDue(this.#docker, this.journal, Infinity);
      wentOn.push(...due.wentOn);
      faults = due.faults.map(toErrorRecord);
      if (readPauses(this.journal).length === 0 || faults.length > 0 || Date.now() > until) break;
      await sleep(pollMs);
    }
    // Given up while something was quiet; what tend() can't remove stays in the journal, for the next line.
    await this.moments.tend(Date.now(), this.#quiet());
    const { removed, warnings } = await this.moments.removeLeft();
    const kept = warnings.map(({ code, message }): ErrorRecord => ({
      code: code as ErrorRecord["code"],
      message,
      permanent: false,
    }));
    return { wentOn, removed, faults: [...faults, ...kept] };
  }

  /** Lets go what is due. What can't be is tried again at the next look, and said in the end. `now`: ms since 1970. */
  async look(now: number): Promise<void> {
    await letGoDue(this.#docker, this.journal, now);
    await this.moments.tend(now, this.#quiet());
  }

  #quiet(): ReadonlySet<string> {
    return new Set(readPauses(this.journal).map(({ pauseId }) => pauseId));
  }

  /** Undoes all. Null where nothing is left; else why. */
  async close(): Promise<Undone["faults"][number] | null> {
    const { faults } = await this.undoLeft();
    const isEmpty = this.journal.pauses().length === 0 && this.journal.moments().length === 0;
    this.journal.close();
    if (isEmpty) for (const end of ["", "-wal", "-shm"]) await rm(this.#file + end, { force: true });
    this.#lock.release();
    return faults[0] ?? null;
  }
}
