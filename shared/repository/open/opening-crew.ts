// Opens windows of packs on all cores. The first few are opened where they are asked for: who wants one file pays for
// no threads.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { fromErrorRecord, type ErrorRecord } from "../../errors.ts";
import type { KeyBytes } from "../keys.ts";
import { openWindow, type SealedWindow } from "./sealed-window.ts";

const maxThreads = Math.min(4, availableParallelism());
/** Opened here before threads are started: some 20 ms. */
const openedHereBytes = 4 * 1024 * 1024;

export interface ToOpeningThread {
  id: number;
  window: SealedWindow;
}
export type FromOpeningThread = { id: number; content: Uint8Array<ArrayBuffer> } | { id: number; error: ErrorRecord };

interface Member {
  thread: Worker;
  tasks: Map<number, PromiseWithResolvers<Uint8Array<ArrayBuffer>>>;
}

export class OpeningCrew {
  readonly #chunkNameKey: KeyBytes;
  readonly #members: Member[] = [];
  #openedHere = 0;
  #nextId = 1;
  #isClosed = false;

  constructor(chunkNameKey: KeyBytes) {
    this.#chunkNameKey = chunkNameKey;
  }

  /** The content of the window's chunks, one after the other; the window's bytes are given away. Throws as openWindow. */
  async open(window: SealedWindow): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#isClosed) throw new Error("the snapshot was closed");
    if (this.#openedHere < openedHereBytes) {
      this.#openedHere += window.sealed.length;
      return openWindow(window, this.#chunkNameKey);
    }
    const member = this.#leastBusy();
    const id = this.#nextId++;
    const task = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
    member.tasks.set(id, task);
    member.thread.ref();
    member.thread.postMessage({ id, window } satisfies ToOpeningThread, [window.sealed.buffer]);
    return await task.promise;
  }

  /** Ends the threads; what is under way fails. */
  close(): void {
    this.#isClosed = true;
    for (const member of this.#members) {
      this.#fail(member, new Error("the snapshot was closed"));
      void member.thread.terminate();
    }
  }

  #leastBusy(): Member {
    const [least] = this.#members.toSorted((a, b) => a.tasks.size - b.tasks.size);
    if (least !== undefined && (least.tasks.size === 0 || this.#members.length >= maxThreads)) return least;
    const thread = new Worker(new URL("./opening-thread.ts", import.meta.url), {
      workerData: this.#chunkNameKey,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    const member: Member = { thread, tasks: new Map() };
    thread.on("message", (answer: FromOpeningThread) => {
      const task = member.tasks.get(answer.id);
      member.tasks.delete(answer.id);
      // A thread that has nothing to do keeps no process alive.
      if (member.tasks.size === 0) thread.unref();
      if ("content" in answer) task?.resolve(answer.content);
      else task?.reject(fromErrorRecord(answer.error));
    });
    thread.on("error", (error: Error) => {
      this.#fail(member, error);
    });
    thread.on("exit", (code) => {
      this.#fail(member, new Error(`a thread that opens packs ended with ${code}`));
    });
    this.#members.push(member);
    return member;
  }

  #fail(member: Member, error: Error): void {
    for (const { reject } of member.tasks.values()) reject(error);
    member.tasks.clear();
  }
}
