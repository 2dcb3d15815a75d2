// Opens windows of packs on all cores. What was opened stays with its thread, which writes it into files itself; others look
// at it where it lies. The first few are opened where they are asked for: who wants one file pays for no threads.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { fromErrorRecord, type ErrorRecord } from "../../errors.ts";
import { threadLimits } from "../../node-flags.ts";
import { writeVerified } from "../../verified-write.ts";
import type { KeyBytes } from "../keys.ts";
import { openWindow, type SealedWindow } from "./sealed-window.ts";

const maxThreads = Math.min(4, availableParallelism());
/** Opened here before threads are started: some 20 ms. */
const openedHereBytes = 4 * 1024 * 1024;

export type ToOpeningThread =
  | { kind: "open"; id: number; window: number; sealed: SealedWindow }
  | { kind: "write"; id: number; window: number; start: number; end: number; descriptor: number; position: number }
  | { kind: "show"; id: number; window: number }
  | { kind: "drop"; window: number };

export type FromOpeningThread =
  | { kind: "done"; id: number }
  | { kind: "written"; id: number; isVerified: boolean }
  /** In memory that both see, until the window is dropped. */
  | { kind: "shown"; id: number; content: Uint8Array }
  /** `systemError`: ENOSPC, say; null where no system call failed. */
  | { kind: "failed"; id: number; error: ErrorRecord; systemError: string | null };

/** The content of a window's chunks, one after the other. */
export interface OpenedWindow {
  /** Its bytes [start, end) into an open file; false where they read back otherwise. Throws what the file system throws. */
  write(start: number, end: number, descriptor: number, position: number): Promise<boolean>;
  /** All of it, and perhaps more behind it; not to be changed, and another's as soon as the window is dropped. */
  content(): Promise<Uint8Array>;
  /** Once, when nothing is under way and nothing more is asked. */
  drop(): void;
}

type Answer = Exclude<FromOpeningThread, { kind: "failed" }>;

class Member {
  readonly thread: Worker;
  readonly #tasks = new Map<number, PromiseWithResolvers<Answer>>();
  #nextId = 1;
  /** Why nothing more is asked of it: a thread that is gone answers nobody. */
  #ended: Error | null = null;

  constructor(chunkNameKey: KeyBytes) {
    this.thread = new Worker(new URL("./opening-thread.ts", import.meta.url), {
      workerData: chunkNameKey,
      resourceLimits: threadLimits,
    });
    this.thread.on("message", (answer: FromOpeningThread) => {
      const task = this.#tasks.get(answer.id);
      this.#tasks.delete(answer.id);
      // A thread that has nothing to do keeps no process alive.
      if (this.#tasks.size === 0) this.thread.unref();
      if (answer.kind === "failed") task?.reject(toError(answer));
      else task?.resolve(answer);
    });
    this.thread.on("error", (error: Error) => {
      this.fail(error);
    });
    this.thread.on("exit", (code) => {
      this.fail(new Error(`a thread that opens packs ended with ${code}`));
    });
  }

  get tasks(): number {
    return this.#tasks.size;
  }

  async ask(makeOrder: (id: number) => ToOpeningThread): Promise<Answer> {
    if (this.#ended !== null) throw this.#ended;
    const id = this.#nextId++;
    const task = Promise.withResolvers<Answer>();
    this.#tasks.set(id, task);
    this.thread.ref();
    this.thread.postMessage(makeOrder(id));
    return await task.promise;
  }

  fail(error: Error): void {
    this.#ended ??= error;
    for (const { reject } of this.#tasks.values()) reject(error);
    this.#tasks.clear();
  }
}

function toError({ error, systemError }: Extract<FromOpeningThread, { kind: "failed" }>): Error {
  return systemError === null ? fromErrorRecord(error) : Object.assign(new Error(error.message), { code: systemError });
}

export class OpeningCrew {
  readonly #chunkNameKey: KeyBytes;
  readonly #members: Member[] = [];
  #openedHere = 0;
  #nextWindow = 1;
  #isClosed = false;

  constructor(chunkNameKey: KeyBytes) {
    this.#chunkNameKey = chunkNameKey;
  }

  /** Once it resolves, the sealed bytes are no longer needed. Throws as openWindow. */
  async open(sealed: SealedWindow): Promise<OpenedWindow> {
    if (this.#isClosed) throw new Error("the snapshot was closed");
    if (this.#openedHere < openedHereBytes) {
      this.#openedHere += sealed.sealed.length;
      return new WindowHere(openWindow(sealed, this.#chunkNameKey));
    }
    const member = this.#leastBusy();
    const window = this.#nextWindow++;
    await member.ask((id) => ({ kind: "open", id, window, sealed }));
    return new WindowThere(member, window);
  }

  /** Ends the threads; what is under way fails. */
  close(): void {
    this.#isClosed = true;
    for (const member of this.#members) {
      member.fail(new Error("the snapshot was closed"));
      void member.thread.terminate();
    }
  }

  #leastBusy(): Member {
    const [least] = this.#members.toSorted((a, b) => a.tasks - b.tasks);
    if (least !== undefined && (least.tasks === 0 || this.#members.length >= maxThreads)) return least;
    const member = new Member(this.#chunkNameKey);
    this.#members.push(member);
    return member;
  }
}

class WindowHere implements OpenedWindow {
  readonly #content: Uint8Array;

  constructor(content: Uint8Array) {
    this.#content = content;
  }

  async write(start: number, end: number, descriptor: number, position: number): Promise<boolean> {
    return Promise.resolve(writeVerified(descriptor, this.#content.subarray(start, end), position));
  }

  async content(): Promise<Uint8Array> {
    return Promise.resolve(this.#content);
  }

  drop(): void {
    // It goes with the last who looks at it.
  }
}

class WindowThere implements OpenedWindow {
  readonly #member: Member;
  readonly #window: number;
  #content: Promise<Uint8Array> | null = null;

  constructor(member: Member, window: number) {
    this.#member = member;
    this.#window = window;
  }

  async write(start: number, end: number, descriptor: number, position: number): Promise<boolean> {
    const window = this.#window;
    const answer = await this.#member.ask((id) => ({ kind: "write", id, window, start, end, descriptor, position }));
    return answer.kind === "written" && answer.isVerified;
  }

  async content(): Promise<Uint8Array> {
    this.#content ??= this.#show();
    return await this.#content;
  }

  drop(): void {
    this.#member.thread.postMessage({ kind: "drop", window: this.#window } satisfies ToOpeningThread);
  }

  async #show(): Promise<Uint8Array> {
    const answer = await this.#member.ask((id) => ({ kind: "show", id, window: this.#window }));
    if (answer.kind !== "shown") throw new TypeError("a window was asked for and not shown");
    return answer.content;
  }
}
