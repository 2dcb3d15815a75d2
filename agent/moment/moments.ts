// Moments: the content of a volume as its filesystem keeps it while the volume goes on (a snapshot of btrfs, a reflink
// copy). Each stands in the agent's journal before it is made, and in no other place: what a life of the agent left
// behind, the next one removes when it starts.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { lstat, statfs } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { z } from "zod";
import { toErrorRecord } from "../../shared/errors.ts";
import { threadLimits } from "../../shared/node-flags.ts";
import type { Part, Warning } from "../../shared/repository/run.ts";
import type { Journal } from "../journal.ts";
import { walkVolume, type Walk } from "../source/volume.ts";
import { btrfsMagic } from "./btrfs.ts";
import { clonedEntries } from "./clone-tree.ts";
import type { FromMomentThread, MomentOrder, ToMomentThread } from "./moment-thread.ts";

/** In Docker's data root: one filesystem with its volumes, as a rule. */
const placeName = "skep-moments";
const retryMs = 60_000;
/** A thread that has not ended so long after it was told to is within a call of the filesystem that does not come back. */
const patienceMs = 1000;

const recordSchema = z.strictObject({ name: z.string().regex(/^[0-9a-f]{16}$/), place: z.string().startsWith("/") });
type MomentRecord = z.infer<typeof recordSchema>;

export interface MomentRequest {
  /** The volume's folder, no links in it. */
  root: string;
  /** Docker's data root, in this process's view, no links in it. */
  dataRoot: string;
  excludePaths: readonly string[];
  /** The volume is quiet: then a copy file by file is of one moment too. */
  isQuiet: boolean;
}

export interface Moment {
  how: NonNullable<Part["moment"]>;
  /** From the call to the filesystem to its answer, ms. */
  tookMs: number;
  /** Null for a copy, of which nothing else than its list can be walked. */
  root: string | null;
  walk: (signal: AbortSignal) => Walk;
  /** Null: gone. Else what is to be said of it: it stays, and tend() tries again. */
  remove: () => Promise<Warning | null>;
}

/** All is ready to take it. */
export interface Prepared {
  how: Moment["how"];
  /** Null where the filesystem would not, after all: drop() it, and read the volume itself. Throws the signal's reason: drop() it too. */
  take: (signal: AbortSignal) => Promise<Moment | null>;
  /** Also of what was taken. Does not wait for a filesystem that hangs: tend() goes on with it. */
  drop: () => Promise<void>;
}

export class Moments {
  readonly #journal: Journal | null;
  /** Taken by a pause, for the job that reads the volume; by what it will ask for. */
  readonly #kept = new Map<string, { moment: Moment; deadlineAt: number }>();

  /** Of no use any more, and not removed while their owner keeps a volume quiet. */
  readonly #givenUp: { owner: string; prepared: Pick<Prepared, "drop"> }[] = [];
  /** Whose thread hangs in a call of the filesystem: no more are made while there is one. */
  readonly #hanging = new Set<{ record: MomentRecord; hasEnded: boolean; isTold: boolean }>();
  /** Devices whose filesystem gives none: asking again would only make a quiet longer. */
  readonly #without = new Set<number>();
  /** Records of those that could not be removed: no more are made while there is one. */
  readonly #stuck = new Set<string>();
  /** What is to be said of those that became stuck since tend() told. */
  #untold: Warning[] = [];
  /** When they were last tried anew, ms since 1970. */
  #triedAt = 0;

  /** `journal`: null where none outlives the process; then none is made, for nobody would remove what a kill leaves. */
  constructor(journal: Journal | null) {
    this.#journal = journal;
  }

  /** Null where the filesystem gives none, or where one of before could not be removed. Throws the signal's reason, with nothing to be dropped. */
  async prepare(request: MomentRequest, signal: AbortSignal): Promise<Prepared | null> {
    const { root, dataRoot, excludePaths, isQuiet } = request;
    const journal = this.#journal;
    signal.throwIfAborted();
    if (journal === null || this.#hanging.size > 0) return null;
    // Not by a call that blocks: a folder elsewhere on the host may be a share that does not answer.
    if (!isQuiet && (await statfs(root)).type !== btrfsMagic) return null;
    if (journal.moments().some((text) => this.#stuck.has(text))) return null;
    const { dev } = await lstat(root);
    if (this.#without.has(dev)) return null;
    const record: MomentRecord = { name: randomBytes(8).toString("hex"), place: path.join(dataRoot, placeName) };
    const text = JSON.stringify(record);
    journal.putMoment(record.name, text);
    const thread = new MomentThread({ kind: "take", ...{ root, excludePaths, mayClone: isQuiet }, ...record });
    const drop = async (): Promise<void> => {
      const end = thread.end();
      if (await Promise.race([end.then(() => true), sleep(patienceMs, false, { ref: false })])) {
        await this.#remove(record);
        return;
      }
      const hanging = { record, hasEnded: false, isTold: false };
      this.#hanging.add(hanging);
      void end.then(() => (hanging.hasEnded = true));
    };
    const ready = await thread.next(signal);
    if (signal.aborted) {
      await drop();
      throw signal.reason;
    }
    if (ready.kind !== "ready" || ready.how === null) {
      await drop();
      if (isQuiet && ready.kind === "ready") this.#without.add(dev);
      return null;
    }
    const { how } = ready;
    const take = async (signal: AbortSignal): Promise<Moment | null> => {
      signal.throwIfAborted();
      thread.go();
      const taken = await thread.next(signal);
      signal.throwIfAborted();
      await thread.end();
      if (taken.kind !== "taken") return null;
      const { findings, tookMs } = taken;
      return {
        ...{ how, tookMs, root: findings === null ? taken.root : null },
        walk: (signal) =>
          findings === null
            ? walkVolume(taken.root, excludePaths, signal)
            : { entries: clonedEntries(root, taken.root), findings },
        remove: () => this.#remove(record),
      };
    };
    return { how, take, drop };
  }

  /** For whoever claims it before the deadline, ms since 1970. */
  keep(owner: string, volume: string, moment: Moment, deadlineAt: number): void {
    this.#kept.set(keyOf(owner, volume), { moment, deadlineAt });
  }

  /** Null where none is kept under that name; else it is the caller's to remove. */
  claim(owner: string, volume: string): Moment | null {
    const key = keyOf(owner, volume);
    const kept = this.#kept.get(key);
    this.#kept.delete(key);
    return kept?.moment ?? null;
  }

  /** Removed by tend() once `owner` keeps nothing quiet any more; nobody can claim it. */
  giveUp(owner: string, prepared: Pick<Prepared, "drop">): void {
    this.#givenUp.push({ owner, prepared });
  }

  /**
   * Removes those that nobody claimed in time, and those given up whose owner is not among `quiet`, and tries those anew,
   * once a minute, that could not be removed. What is to be said of such as became so since the last call. `now`: ms since 1970.
   */
  async tend(now: number, quiet: ReadonlySet<string>): Promise<Warning[]> {
    for (const each of this.#givenUp.filter(({ owner }) => !quiet.has(owner))) {
      this.#givenUp.splice(this.#givenUp.indexOf(each), 1);
      await each.prepared.drop();
    }
    for (const hanging of this.#hanging) {
      const { record, hasEnded, isTold } = hanging;
      if (hasEnded) {
        this.#hanging.delete(hanging);
        await this.#remove(record);
      } else if (!isTold) {
        hanging.isTold = true;
        this.#untold.push(keptFor(record, "the filesystem does not answer"));
      }
    }
    for (const [key, { moment, deadlineAt }] of this.#kept) {
      if (deadlineAt > now) continue;
      this.#kept.delete(key);
      await moment.remove();
    }
    // Of a clock that was set back too.
    if (Math.abs(now - this.#triedAt) >= retryMs) {
      this.#triedAt = now;
      for (const text of [...this.#stuck]) await this.#remove(recordSchema.parse(JSON.parse(text)));
    }
    const untold = this.#untold;
    this.#untold = [];
    return untold;
  }

  /** When the agent starts: what a former life of it left. Their places; what can't be removed is a warning. */
  async removeLeft(): Promise<{ removed: string[]; warnings: Warning[] }> {
    const removed: string[] = [];
    const warnings: Warning[] = [];
    for (const text of this.#journal?.moments() ?? []) {
      const record = recordSchema.parse(JSON.parse(text));
      const warning = await this.#remove(record);
      if (warning === null) removed.push(path.join(record.place, record.name));
      else warnings.push(warning);
    }
    this.#untold = [];
    return { removed, warnings };
  }

  async #remove(record: MomentRecord): Promise<Warning | null> {
    const text = JSON.stringify(record);
    const thread = new MomentThread({ kind: "remove", ...record });
    const answer = await thread.next();
    await thread.end();
    if (answer.kind === "removed") {
      this.#stuck.delete(text);
      this.#journal?.removeMoment(record.name);
      return null;
    }
    const why = answer.kind === "failed" ? answer.error.message : "the thread ended";
    const warning = keptFor(record, why);
    if (!this.#stuck.has(text)) this.#untold.push(warning);
    this.#stuck.add(text);
    return warning;
  }
}

function keptFor({ place, name }: MomentRecord, why: string): Warning {
  const file = path.join(place, name);
  return {
    code: "SKEP_MOMENT_KEPT",
    message: `the filesystem's copy ${file} could not be removed, and no other is made while it is there: ${why}`,
  };
}

function keyOf(owner: string, volume: string): string {
  return `${owner} ${volume}`;
}

/** Its answers, one after the other. */
class MomentThread {
  readonly #thread: Worker;

  constructor(order: MomentOrder) {
    this.#thread = new Worker(new URL("./moment-thread.ts", import.meta.url), {
      workerData: order,
      resourceLimits: threadLimits,
    });
  }

  go(): void {
    this.#thread.postMessage("go" satisfies ToMomentThread);
  }

  /** An end without an answer, or an abort before it, is a failure too. */
  async next(signal?: AbortSignal): Promise<FromMomentThread> {
    try {
      const ended = once(this.#thread, "exit").then(() => {
        throw new Error("the thread ended by itself");
      });
      const [message] = (await Promise.race([once(this.#thread, "message", { signal }), ended])) as [FromMomentThread];
      return message;
    } catch (error) {
      return { kind: "failed", error: toErrorRecord(error) };
    }
  }

  async end(): Promise<void> {
    await this.#thread.terminate();
  }
}
