// Waiting for what has no end of its own in sight.
import { addAbortListener } from "node:events";

/** What `work` gives, or the signal's reason once that is aborted: then what becomes of `work` is nobody's concern. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const listener = addAbortListener(signal, () => {
    reject(signal.reason as Error);
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    listener[Symbol.dispose]();
  }
}
