// What a store promises (store.ts), asked of the real one: for somebody's own bucket, before a backup depends on it. The
// suite of the tests asks the same of every store. All lies below one key of its own in probe/, and is deleted again.
import { randomBytes } from "node:crypto";
import { SkepError, toErrorRecord, type ErrorRecord } from "../errors.ts";
import { probeKey } from "./probe.ts";
import type { ObjectKey, Store } from "./store.ts";

export interface CheckedPromise {
  /** E.g. "gives back the bytes that were put, whatever their size". */
  promise: string;
  /** Null where it was kept. */
  fault: ErrorRecord | null;
}

/** As many as a list of S3 takes in one page, and some. */
const listedObjects = 1_005;
const atOnce = 8;
/** Of a pack. */
const largeBytes = 20 * 1024 * 1024;

type Check = (
  store: Store,
  below: (name: string) => ObjectKey,
  signal: AbortSignal | undefined,
  listed: number,
) => Promise<void>;

/** By what each promises; in this order. */
const checks: Record<string, Check> = {
  "gives back the bytes that were put, whatever their size": async (store, below, signal) => {
    for (const size of [0, 1, 4095, 65_537, 1_048_577]) {
      const bytes = randomBytes(size);
      await store.put(below(`size-${size}`), bytes, withSignal(signal));
      await expectBytes(store, below(`size-${size}`), bytes, signal);
      const found = await store.head(below(`size-${size}`), signal);
      if (found?.sizeBytes !== size) throw broken(store, `says ${found?.sizeBytes ?? "nothing"} of ${size} bytes`);
    }
  },
  "carries an object of a pack's size": async (store, below, signal) => {
    const bytes = randomBytes(largeBytes);
    await store.put(below("large"), bytes, withSignal(signal));
    const back = await store.get(below("large"), largeBytes, signal);
    if (back === null || !bytes.equals(back)) throw broken(store, `gave back another object of ${largeBytes} bytes`);
    const middle = await store.getRange(below("large"), 9_999_999, 10_065_536, signal);
    if (!bytes.subarray(9_999_999, 10_065_536).equals(middle ?? new Uint8Array())) {
      throw broken(store, "gave other bytes for a range in the middle");
    }
  },
  "reads any range, also beyond the end": async (store, below, signal) => {
    const bytes = randomBytes(1000);
    await store.put(below("range"), bytes, withSignal(signal));
    for (const [start, end] of [
      [0, 1],
      [0, 1000],
      [500, 501],
      [999, 1000],
      [990, 2000],
      [1000, 1001],
      [5000, 6000],
    ] as const) {
      const part = await store.getRange(below("range"), start, end, signal);
      if (part === null || !bytes.subarray(start, end).equals(part)) {
        throw broken(store, `gave ${part?.length ?? "no"} bytes for the range from ${start} to ${end} of 1000`);
      }
    }
  },
  "says of what is not there that it is not": async (store, below, signal) => {
    const key = below("never");
    const found = [
      await store.get(key, 10, signal),
      await store.getRange(key, 0, 5, signal),
      await store.head(key, signal),
    ];
    if (found.some((one) => one !== null)) throw broken(store, `has an object ${key} that nobody put there`);
  },
  "replaces an object whole": async (store, below, signal) => {
    await store.put(below("again"), Buffer.from("a long first version"), withSignal(signal));
    await store.put(below("again"), Buffer.from("short"), withSignal(signal));
    await expectBytes(store, below("again"), Buffer.from("short"), signal);
  },
  "does not create what is there already": async (store, below, signal) => {
    const first = await store.putIfAbsent(below("once"), Buffer.from("first"), withSignal(signal));
    const second = await store.putIfAbsent(below("once"), Buffer.from("second"), withSignal(signal));
    if (first === null || second !== null) throw broken(store, "created one object twice");
    await expectBytes(store, below("once"), Buffer.from("first"), signal);
  },
  "lists every object that was put, in order, over many pages": async (store, below, signal, listed) => {
    const keys = Array.from({ length: listed }, (_, index) => below(`list/${String(index).padStart(5, "0")}`));
    await inParallel(keys, (key) => store.put(key, Buffer.from("x"), withSignal(signal)));
    const found = (await Array.fromAsync(store.list(below("list/"), signal))).map(({ key }) => key);
    if (found.length !== keys.length || found.some((key, index) => key !== keys[index])) {
      throw broken(store, `listed ${found.length} of ${keys.length} objects, or in another order`);
    }
    const some = (await Array.fromAsync(store.list(below("list/0001"), signal))).map(({ key }) => key);
    if (some.length !== 10) throw broken(store, `listed ${some.length} of 10 objects whose keys begin alike`);
  },
  "deletes what it is told to, and nothing else": async (store, below, signal) => {
    for (const name of ["kept", "gone-1", "gone-2"])
      await store.put(below(`delete/${name}`), Buffer.from(name), withSignal(signal));
    await store.delete([below("delete/gone-1"), below("delete/gone-2"), below("delete/never")], signal);
    const left = (await Array.fromAsync(store.list(below("delete/"), signal))).map(({ key }) => key);
    if (left.length !== 1 || left[0] !== below("delete/kept"))
      throw broken(store, `has ${left.join(", ") || "nothing"} left`);
    await expectBytes(store, below("delete/kept"), Buffer.from("kept"), signal);
  },
};

/** What could not even be tried counts as not kept. `listed`: how many objects a list must have. Throws only the signal's reason, and SKEP_STORE_PROBE_LEFT where it could not clean up. */
export async function checkPromises(
  store: Store,
  signal?: AbortSignal,
  listed = listedObjects,
): Promise<CheckedPromise[]> {
  const prefix = probeKey();
  const below = (name: string): ObjectKey => `${prefix}/${name}`;
  const checked: CheckedPromise[] = [];
  try {
    for (const [promise, check] of Object.entries(checks)) {
      try {
        await check(store, below, signal, listed);
        checked.push({ promise, fault: null });
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof SkepError)) throw error;
        checked.push({ promise, fault: toErrorRecord(error) });
      }
    }
  } finally {
    await cleanUp(store, below(""));
  }
  return checked;
}

/** Also after an interruption. */
async function cleanUp(store: Store, prefix: string): Promise<void> {
  try {
    const left = (await Array.fromAsync(store.list(prefix))).map(({ key }) => key);
    if (left.length > 0) await store.delete(left);
  } catch (error) {
    throw new SkepError({
      code: "SKEP_STORE_PROBE_LEFT",
      message: `what was written below ${prefix} at ${store.address} to try it could not be deleted`,
      permanent: true,
      hint: "delete it by other means; credentials that may not delete cannot be tried so",
      cause: error,
    });
  }
}

async function expectBytes(
  store: Store,
  key: ObjectKey,
  bytes: Buffer,
  signal: AbortSignal | undefined,
): Promise<void> {
  const back = await store.get(key, Math.max(1, bytes.length), signal);
  if (back === null || !bytes.equals(back)) {
    throw broken(store, `gave back ${back === null ? "nothing" : "other bytes"} for ${key}, of ${bytes.length} bytes`);
  }
}

async function inParallel<T>(items: readonly T[], act: (item: T) => Promise<unknown>): Promise<void> {
  const pending = items.values();
  const work = async (): Promise<void> => {
    for (const item of pending) await act(item);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

function withSignal(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

function broken(store: Store, what: string): SkepError {
  return new SkepError({
    code: "SKEP_STORE_UNFIT",
    message: `${store.address} ${what}`,
    permanent: true,
    hint: "no backup is safe there: ask who runs it, or take another store",
  });
}
