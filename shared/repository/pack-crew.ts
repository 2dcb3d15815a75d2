// The pack workers of one snapshot, seen from the main thread: hands out tasks, stores the packs that come back, and
// stops everything at the first failure.
import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { fromErrorRecord } from "../errors.ts";
import { threadLimits } from "../node-flags.ts";
import type { Store } from "../store/store.ts";
import { makeAgeHeader } from "./age.ts";
import { layout } from "./layout.ts";
import { ReadCounter } from "./read-counter.ts";
import type {
  FromPackWorker,
  PackTask,
  PackTaskResult,
  PackWorkerSettings,
  SealedPack,
  ToPackWorker,
} from "./pack-worker-messages.ts";

/** More take memory (some 55 MiB each) and find no faster store. */
export const defaultWorkers = Math.min(4, availableParallelism());
/** Tasks that wait at a worker: one, so that it never idles, and no more, so that another may take it. */
const queuedTasks = 2;
/** Of a worker: one pack is filled while the other is stored. */
const packsUnderWay = 2;

interface Member {
  worker: Worker;
  /** That it was given, beside those that came back. */
  rooms: number;
  tasks: Map<number, { resolve: (result: PackTaskResult) => void; reject: (error: unknown) => void }>;
}

export class PackCrew {
  readonly #settings: PackWorkerSettings;
  readonly #recipient: string;
  readonly #readCounter: ReadCounter;
  readonly #store: Store;
  readonly #maxWorkers: number;
  readonly #maxBytesPerSecond: number;
  readonly #onStored: (pack: SealedPack) => Promise<void>;
  readonly #members: Member[] = [];
  readonly #storing = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;
  #nextTask = 1;
  #changed = Promise.withResolvers<undefined>();
  #nextPutAt = 0;
  #isClosed = false;

  constructor(options: {
    settings: PackWorkerSettings;
    /** Of the epoch. */
    recipient: string;
    store: Store;
    /** At most; they are started as there is work. */
    workers: number;
    /** 0: no limit. */
    maxBytesPerSecond: number;
    signal: AbortSignal;
    /** Called for each pack that the store acknowledged. */
    onStored: (pack: SealedPack) => Promise<void>;
  }) {
    this.#settings = options.settings;
    this.#recipient = options.recipient;
    this.#readCounter = new ReadCounter(options.settings.readCount);
    this.#store = options.store;
    this.#maxWorkers = options.workers;
    this.#maxBytesPerSecond = options.maxBytesPerSecond;
    this.#onStored = options.onStored;
    this.#changed.promise.catch(() => undefined); // whoever waits learns of it; nobody may be waiting
    this.#signal = options.signal;
    this.#onAbort = () => {
      this.fail(options.signal.reason);
    };
    options.signal.addEventListener("abort", this.#onAbort, { once: true });
    if (options.signal.aborted) this.#onAbort();
  }

  /** Aborted at the first failure and by the caller's signal. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** True while another task would only wait. */
  get isBusy(): boolean {
    return (
      this.#members.length >= this.#maxWorkers && this.#members.every((member) => member.tasks.size >= queuedTasks)
    );
  }

  /** Resolves when some task or pack is done, or at announce(); rejects with the crew's failure. */
  async progress(): Promise<void> {
    await this.#changed.promise;
  }

  /** Hands a task to the least busy worker, or to the first one (which alone sees the manifest's lines, in order). */
  run(task: PackTask, toFirst = false): Promise<PackTaskResult> {
    const member = toFirst ? (this.#members[0] ?? this.#start()) : this.#leastBusy();
    const done = this.#give(member, task);
    done.catch(() => undefined); // the crew fails with it
    return done;
  }

  /** What follows from a task: the crew fails with it, and whoever waits for the crew learns of its end. */
  follow(promise: Promise<void>): void {
    promise.then(
      () => {
        this.announce();
      },
      (error: unknown) => {
        this.fail(error);
      },
    );
  }

  /** Lets every worker close its pack; resolves when all packs are stored. */
  async flush(): Promise<void> {
    await Promise.all(this.#members.map((member) => this.#give(member, { kind: "flush" })));
    while (this.#storing.size > 0) await Promise.all(this.#storing);
    this.signal.throwIfAborted();
  }

  /** The first failure counts: it stops the puts, and whoever waits gets it. */
  fail(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(error);
    this.#changed.reject(error);
    for (const { tasks } of this.#members) for (const { reject } of tasks.values()) reject(error);
  }

  /** Ends the workers, whatever they do. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#stop.abort(new Error("the crew was closed"));
    await Promise.all(this.#members.map(({ worker }) => worker.terminate()));
    // A put that was stopped still holds its bytes until it settles.
    await Promise.allSettled(this.#storing);
  }

  #leastBusy(): Member {
    const [least] = this.#members.toSorted((a, b) => a.tasks.size - b.tasks.size);
    if (least !== undefined && (least.tasks.size === 0 || this.#members.length >= this.#maxWorkers)) return least;
    return this.#start();
  }

  #start(): Member {
    const worker = new Worker(new URL("./pack-worker.ts", import.meta.url), {
      workerData: this.#settings,
      resourceLimits: threadLimits,
    });
    const member: Member = { worker, rooms: 0, tasks: new Map() };
    worker.on("message", (message: FromPackWorker) => {
      this.#receive(member, message);
    });
    worker.on("error", (error) => {
      this.fail(error);
    });
    worker.on("exit", (code) => {
      if (!this.#isClosed) this.fail(new Error(`a pack worker ended by itself with ${code}`));
    });
    this.#members.push(member);
    this.#addRoom(member);
    return member;
  }

  #give(member: Member, task: PackTask): Promise<PackTaskResult> {
    if (this.#stop.signal.aborted) return Promise.reject(this.#stop.signal.reason as Error);
    const id = this.#nextTask++;
    return new Promise((resolve, reject) => {
      member.tasks.set(id, { resolve, reject });
      member.worker.postMessage({ kind: "task", id, task } satisfies ToPackWorker);
    });
  }

  #receive(member: Member, message: FromPackWorker): void {
    switch (message.kind) {
      case "done":
        this.#readCounter.add(-message.result.countedBytes);
        member.tasks.get(message.id)?.resolve(message.result);
        member.tasks.delete(message.id);
        break;
      case "failed":
        this.fail(fromErrorRecord(message.error));
        break;
      case "pack": {
        if (member.rooms < packsUnderWay) this.#addRoom(member);
        const storing = this.#putPack(member, message.pack, message.buffer);
        this.#storing.add(storing);
        storing
          .catch((error: unknown) => {
            this.fail(error);
          })
          .finally(() => {
            this.#storing.delete(storing);
            this.announce();
          });
        break;
      }
    }
    this.announce();
  }

  async #putPack(member: Member, pack: SealedPack, buffer: SharedArrayBuffer): Promise<void> {
    await this.#pace(pack.sizeBytes);
    await this.#store.put(layout.pack(pack.pack), new Uint8Array(buffer, 0, pack.sizeBytes), { signal: this.signal });
    this.#giveRoom(member, buffer);
    await this.#onStored(pack);
  }

  #addRoom(member: Member): void {
    member.rooms++;
    this.#giveRoom(member, null);
  }

  #giveRoom({ worker }: Member, buffer: SharedArrayBuffer | null): void {
    makeAgeHeader([this.#recipient]).then(
      (age) => {
        const message = { kind: "room", room: { age, buffer } } satisfies ToPackWorker;
        if (!this.#isClosed) worker.postMessage(message);
      },
      (error: unknown) => {
        this.fail(error);
      },
    );
  }

  /** Waits until so many bytes may leave. */
  async #pace(bytes: number): Promise<void> {
    if (this.#maxBytesPerSecond === 0) return;
    const now = performance.now();
    const putAt = Math.max(now, this.#nextPutAt);
    this.#nextPutAt = putAt + (bytes / this.#maxBytesPerSecond) * 1000;
    if (putAt > now) await sleep(putAt - now, undefined, { signal: this.signal });
  }

  /** Wakes who waits for progress; to be called when what a task brought is in its place. */
  announce(): void {
    if (this.#stop.signal.aborted) return;
    this.#changed.resolve(undefined);
    this.#changed = Promise.withResolvers<undefined>();
    this.#changed.promise.catch(() => undefined);
  }
}
