// The frame of both daemons: settings are read once, SIGTERM and SIGINT end the work in order, and what ends it otherwise
// is one line of the log and exit status 1.
import { SkepError, toErrorRecord } from "./errors.ts";
import { makeLogger, type Logger } from "./log.ts";

/** Runs until `work` resolves; the exit status. `stop` is aborted by the signals, and `work` may abort it itself. */
export async function runDaemon<Read extends { SKEP_LOG_LEVEL: string }>(
  name: string,
  read: () => Read,
  work: (settings: Read, log: Logger, stop: AbortController) => Promise<void>,
): Promise<number> {
  const stop = new AbortController();
  // Faults of the settings are told as well.
  let log = makeLogger(name, "info");
  try {
    const settings = read();
    log = makeLogger(name, settings.SKEP_LOG_LEVEL);
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.once(signal, () => {
        log.info({ signal }, "stopping");
        stop.abort();
      });
    }
    await work(settings, log, stop);
    return 0;
  } catch (error) {
    // Stopped before it began: an AbortError, or the signal's own reason.
    if (stop.signal.aborted && !(error instanceof SkepError)) return 0;
    const { code, message, hint } = toErrorRecord(error);
    log.fatal({ code, hint, ...(code === "SKEP_INTERNAL" ? { err: error } : {}) }, message);
    return 1;
  }
}
