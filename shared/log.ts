// JSON lines on stderr. Only the edges log (main.ts, worker.ts, queue.ts); everything else throws.
import pino, { type Logger } from "pino";

/** Keys whose values never reach a log line, at the top or one level down. A test goes through each. */
export const redactedKeys = [
  "password",
  "token",
  "secret",
  "secretAccessKey",
  "accessKeyId",
  "identity",
  "privateKey",
  "fileKey",
  "fileKeys",
  "writerKey",
  "repositoryKey",
  "signingKey",
  "authorization",
  "unlockKey",
] as const;

/** A logger for one process; `child({ run, node, volume })` makes the one for a job. */
export function makeLogger(
  name: string,
  level: string,
  // Written at once: asynchronous writes let the fatal line pass those before it, and are lost with a process that is killed.
  destination: pino.DestinationStream = pino.destination({ dest: 2, sync: true }),
): Logger {
  return pino(
    {
      name,
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: redactedKeys.flatMap((key) => [key, `*.${key}`]), censor: "[redacted]" },
    },
    destination,
  );
}

export type { Logger };
