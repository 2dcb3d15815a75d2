// What the shell gets to know, frozen: scripts match on these numbers (docs/CLI.md, "Exit codes").
import type { ErrorCode } from "../../shared/errors.ts";

export const exitCodes = {
  done: 0,
  failed: 1,
  /** Something is covered or restored, not all of it. */
  partial: 3,
  /** The store, or the repository in it, is not there or not reachable. */
  noStore: 10,
  /** Somebody else is at it: a run or a restore is under way. */
  locked: 11,
  /** The identity or the controller key belongs to another repository. */
  keyDoesNotFit: 12,
  interrupted: 130,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

const byErrorCode: Readonly<Record<string, ExitCode>> = {
  SKEP_STORE_BUCKET_MISSING: exitCodes.noStore,
  SKEP_STORE_UNREACHABLE: exitCodes.noStore,
  SKEP_STORE_DENIED: exitCodes.noStore,
  SKEP_REPOSITORY_MISSING: exitCodes.noStore,
  SKEP_RUN_IN_PROGRESS: exitCodes.locked,
  SKEP_RESTORE_IN_PROGRESS: exitCodes.locked,
  SKEP_STANDALONE_BUSY: exitCodes.locked,
  SKEP_IDENTITY_DOES_NOT_FIT: exitCodes.keyDoesNotFit,
  SKEP_CONTROLLER_KEY_DOES_NOT_FIT: exitCodes.keyDoesNotFit,
  SKEP_CLI_INTERRUPTED: exitCodes.interrupted,
};

export function exitCodeOf(code: ErrorCode): ExitCode {
  return byErrorCode[code] ?? exitCodes.failed;
}

/** Of a run or a part. */
export function exitCodeOfStatus(status: "done" | "partial" | "failed"): ExitCode {
  return exitCodes[status];
}
