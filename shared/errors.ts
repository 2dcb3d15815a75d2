// Every failure that Skep reports is a SkepError: a stable code to match on, a message that names the
// thing and the place, and a hint that says what to do now. Match on the code, never on the message.

/** `SKEP_<AREA>_<CASE>`, stable across releases; the list with its causes is docs/ERRORS.md. */
export type ErrorCode = `SKEP_${string}`;

export interface ErrorFields {
  code: ErrorCode;
  /** Lower case; names the thing and the place (object key, volume, byte offset). */
  message: string;
  /** True where trying again can't help. Decided where the error is born. */
  permanent: boolean;
  /** What the reader should do now. */
  hint?: string;
  cause?: unknown;
}

export class SkepError extends Error {
  readonly code: ErrorCode;
  readonly permanent: boolean;
  readonly hint: string | undefined;

  constructor(fields: ErrorFields) {
    super(fields.message, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.name = "SkepError";
    this.code = fields.code;
    this.permanent = fields.permanent;
    this.hint = fields.hint;
  }
}

/** Characters of a record's message and hint, as every schema of records has them. */
export const longestMessage = 16_384;
export const longestHint = 4096;

/** What is left of an error after it crossed a queue, a pipe or a file: no stack, no cause, and what is too long is cut. */
export interface ErrorRecord {
  code: ErrorCode;
  message: string;
  permanent: boolean;
  hint?: string;
}

/** Any thrown value as a record; what is not a SkepError gets the code SKEP_INTERNAL and counts as transient. */
export function toErrorRecord(thrown: unknown): ErrorRecord {
  if (thrown instanceof SkepError) {
    const { code, message, permanent, hint } = thrown;
    return bounded({ code, message, permanent, ...(hint === undefined ? {} : { hint }) });
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return bounded({ code: "SKEP_INTERNAL", message, permanent: false });
}

/** A message of a library, an engine or whoever wrote to the queue: a run object that quotes it must still be one. */
function bounded({ code, message, permanent, hint }: ErrorRecord): ErrorRecord {
  const cut = { code, message: message.slice(0, longestMessage), permanent };
  return hint === undefined ? cut : { ...cut, hint: hint.slice(0, longestHint) };
}

export function fromErrorRecord(record: ErrorRecord): SkepError {
  return new SkepError(record);
}

const queuePrefix = "skep-error:";

/** One string for BullMQ, which keeps only the message of a failed job's error. */
export function encodeErrorMessage(thrown: unknown): string {
  return queuePrefix + JSON.stringify(toErrorRecord(thrown));
}

/** The inverse of encodeErrorMessage; a foreign message (BullMQ's own "job stalled…") becomes SKEP_QUEUE_JOB_FAILED. */
export function decodeErrorMessage(message: string): ErrorRecord {
  if (message.startsWith(queuePrefix)) {
    try {
      const parsed: unknown = JSON.parse(message.slice(queuePrefix.length));
      if (isErrorRecord(parsed)) return bounded(parsed);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
  return bounded({ code: "SKEP_QUEUE_JOB_FAILED", message, permanent: false });
}

function isErrorRecord(value: unknown): value is ErrorRecord {
  if (typeof value !== "object" || value === null) return false;
  const record = value as Record<string, unknown>;
  return (
    typeof record["code"] === "string" &&
    /^SKEP_[A-Z0-9_]{1,64}$/.test(record["code"]) &&
    typeof record["message"] === "string" &&
    typeof record["permanent"] === "boolean" &&
    (record["hint"] === undefined || typeof record["hint"] === "string")
  );
}
