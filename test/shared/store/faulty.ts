// A store that fails when told, around a real one: for tests of what a crash or a bad line leaves behind.
//
//   const counting = new FaultyStore(inner, () => null);      // run once, count the calls
//   for (let n = 1; n <= counting.calls.length; n++) {
//     const store = new FaultyStore(fresh, dieAt(n));         // then die at each of them
//     …                                                       // and see that what is left is sound
//   }
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../../shared/errors.ts";
import type {
  ObjectHead,
  ObjectInfo,
  ObjectKey,
  ObjectVersion,
  PutOptions,
  Store,
  StoreAbilities,
  Stored,
} from "../../../shared/store/store.ts";

export interface Call {
  /** From 1, over all methods. */
  number: number;
  method: "put" | "putIfAbsent" | "get" | "getRange" | "head" | "lock" | "list" | "delete" | "probe";
  /** The key, the prefix of a list, the first key of a deletion; "" for a probe. */
  key: string;
}

/**
 * fail: nothing was done. loseAnswer: it was done, and fails all the same. cut: a put (or deletion) that was stopped
 * under way, done or not done as the inner store has it. delayMs: it comes late.
 */
export type Fault = { kind: "fail" | "loseAnswer" | "cut"; error?: Error } | { kind: "delay"; delayMs: number };

/** Asked before each call; null lets it through. */
export type FaultPlan = (call: Call) => Fault | null;

export class FaultyStore implements Store {
  readonly address: string;
  /** All that were made, in order, refused or not. */
  readonly calls: Call[] = [];
  readonly #inner: Store;
  readonly #plan: FaultPlan;

  constructor(inner: Store, plan: FaultPlan) {
    this.#inner = inner;
    this.#plan = plan;
    this.address = inner.address;
  }

  async put(key: ObjectKey, bytes: Uint8Array, options: PutOptions = {}): Promise<Stored> {
    return await this.#call("put", key, options.signal, (signal) => this.#inner.put(key, bytes, withSignal(signal)));
  }

  async putIfAbsent(key: ObjectKey, bytes: Uint8Array, options: PutOptions = {}): Promise<Stored | null> {
    return await this.#call("putIfAbsent", key, options.signal, (signal) =>
      this.#inner.putIfAbsent(key, bytes, withSignal(signal)),
    );
  }

  async get(key: ObjectKey, maxBytes: number, signal?: AbortSignal, versionId?: string): Promise<Uint8Array | null> {
    return await this.#call("get", key, signal, (inner) => this.#inner.get(key, maxBytes, inner, versionId));
  }

  async getRange(key: ObjectKey, start: number, end: number, signal?: AbortSignal): Promise<Uint8Array | null> {
    return await this.#call("getRange", key, signal, (inner) => this.#inner.getRange(key, start, end, inner));
  }

  async head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectHead | null> {
    return await this.#call("head", key, signal, (inner) => this.#inner.head(key, inner));
  }

  async lock(key: ObjectKey, versionId: string | null, until: number, signal?: AbortSignal): Promise<void> {
    await this.#call("lock", key, signal, (inner) => this.#inner.lock(key, versionId, until, inner));
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncGenerator<ObjectInfo> {
    yield* await this.#call("list", prefix, signal, (inner) => Array.fromAsync(this.#inner.list(prefix, inner)));
  }

  listDeleted(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectKey> {
    return this.#inner.listDeleted(prefix, signal);
  }

  listVersions(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectVersion> {
    return this.#inner.listVersions(prefix, signal);
  }

  async delete(keys: readonly ObjectKey[], signal?: AbortSignal): Promise<void> {
    await this.#call("delete", keys[0] ?? "", signal, (inner) => this.#inner.delete(keys, inner));
  }

  async probe(signal?: AbortSignal): Promise<StoreAbilities> {
    return await this.#call("probe", "", signal, (inner) => this.#inner.probe(inner));
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #call<T>(
    method: Call["method"],
    key: string,
    signal: AbortSignal | undefined,
    act: (signal: AbortSignal | undefined) => Promise<T>,
  ): Promise<T> {
    const call = { number: this.calls.length + 1, method, key };
    this.calls.push(call);
    const fault = this.#plan(call);
    if (fault === null) return await act(signal);
    if (fault.kind === "delay") {
      await sleep(fault.delayMs, undefined, withSignal(signal));
      return await act(signal);
    }
    const error = fault.error ?? faultError(call, fault.kind);
    if (fault.kind === "loseAnswer") await act(signal);
    if (fault.kind === "cut") await cutShort(act, error);
    throw error;
  }
}

/** The nth call fails; what comes after works. */
export function failAt(number: number, error?: Error): FaultPlan {
  return oneFault(number, "fail", error);
}

/** The nth call is done, and its answer lost. */
export function loseAnswerAt(number: number, error?: Error): FaultPlan {
  return oneFault(number, "loseAnswer", error);
}

/** The nth call is stopped under way. */
export function cutAt(number: number, error?: Error): FaultPlan {
  return oneFault(number, "cut", error);
}

/** From the nth call on nothing works any more: the process died there. That call itself is stopped under way. */
export function dieAt(number: number): FaultPlan {
  return (call) => {
    if (call.number < number) return null;
    return { kind: call.number === number ? "cut" : "fail", error: faultError(call, "the process died") };
  };
}

export function delayEach(delayMs: number): FaultPlan {
  return () => ({ kind: "delay", delayMs });
}

function oneFault(number: number, kind: "fail" | "loseAnswer" | "cut", error: Error | undefined): FaultPlan {
  return (call) => (call.number === number ? { kind, ...(error === undefined ? {} : { error }) } : null);
}

async function cutShort(act: (signal: AbortSignal) => Promise<unknown>, error: Error): Promise<void> {
  const controller = new AbortController();
  setImmediate(() => {
    controller.abort(error);
  });
  try {
    await act(controller.signal);
  } catch (thrown) {
    if (thrown !== error) throw thrown;
  }
}

function withSignal(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

function faultError(call: Call, kind: string): SkepError {
  return new SkepError({
    code: "SKEP_STORE_UNREACHABLE",
    message: `${kind} at call ${call.number}, ${call.method} ${call.key}`,
    permanent: false,
  });
}
