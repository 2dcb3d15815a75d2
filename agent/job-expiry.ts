// A job that nobody sent through a queue ends at its expiry all the same.
import type { Job } from "../shared/contract/job.ts";
import { SkepError } from "../shared/errors.ts";

/** The longest that a timer takes, ms. */
const maxTimerMs = 2 ** 31 - 1;

/** `act` gets a signal of both. Throws SKEP_JOB_EXPIRED, and what it throws. */
export async function untilExpiry<T>(
  { id, expiresAt }: Pick<Job, "id" | "expiresAt">,
  stop: AbortSignal,
  act: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const expiry = AbortSignal.timeout(Math.min(maxTimerMs, Math.max(0, Date.parse(expiresAt) - Date.now())));
  try {
    return await act(AbortSignal.any([stop, expiry]));
  } catch (error) {
    if (!expiry.aborted || error !== expiry.reason) throw error;
    throw new SkepError({
      code: "SKEP_JOB_EXPIRED",
      message: `job ${id} was ended at its expiry, ${expiresAt}`,
      permanent: true,
    });
  }
}
