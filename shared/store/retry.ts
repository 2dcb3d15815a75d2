// Trying again what may pass, and giving up what takes too long.
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../errors.ts";

export interface RetryPlan {
  /** Tries in all, 1 or more. */
  attempts: number;
  /** Upper end of the first pause; each next one doubles, up to the longest. */
  firstPauseMs: number;
  longestPauseMs: number;
  /** 0 (included) to 1 (excluded), for the jitter. */
  random: () => number;
}

/**
 * Acts until it succeeds, fails for good (a permanent SkepError, or no SkepError at all) or the attempts are used up;
 * then the last error says how many there were. An abort ends a pause at once and rejects with the signal's reason.
 */
export async function retried<T>(plan: RetryPlan, signal: AbortSignal | undefined, act: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await act();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof SkepError) || error.permanent) throw error;
      if (attempt >= plan.attempts) throw attempt === 1 ? error : countingAttempts(error, attempt);
      await pause(pauseMs(plan, attempt), signal);
    }
  }
}

/** Full jitter: anywhere from 0 to the doubled step, so that many clients that failed together do not come back together. */
export function pauseMs(plan: RetryPlan, attempt: number): number {
  return plan.random() * Math.min(plan.longestPauseMs, plan.firstPauseMs * 2 ** (attempt - 1));
}

/** Acts with a signal that also fires when the time is over; then rejects with the error of `late`. */
export async function withDeadline<T>(
  limitMs: number,
  signal: AbortSignal | undefined,
  late: () => SkepError,
  act: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(late());
  }, limitMs);
  const stop = (): void => {
    controller.abort(signal?.reason);
  };
  signal?.addEventListener("abort", stop, { once: true });
  try {
    return await act(controller.signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

function countingAttempts(error: SkepError, attempts: number): SkepError {
  return new SkepError({
    code: error.code,
    message: `${error.message}; tried ${attempts} times`,
    permanent: error.permanent,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error.cause,
  });
}
