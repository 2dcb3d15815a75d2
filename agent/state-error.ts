// What goes wrong with the agent's own state folder, as an error that says what to do.
import { SkepError } from "../shared/errors.ts";
import { systemErrorName } from "../shared/system-error.ts";

/** SQLITE_FULL, sqlite.org/rescode.html; the upper bytes of an error code say more. */
const sqliteFull = 13;

/** A full disk as SKEP_STATE_FULL, also where SQLite met it; everything else as it is. `act`: "copy the Raft state". */
export function explainFullState(thrown: unknown, act: string, stateDir: string): unknown {
  const why = fullness(thrown);
  if (why === null) return thrown;
  return new SkepError({
    code: "SKEP_STATE_FULL",
    message: `cannot ${act} in the agent's state folder ${stateDir}: no room left (${why})`,
    permanent: true,
    hint: "free space on that disk, or keep the state on another one (SKEP_STATE_DIR, --state-dir)",
    cause: thrown,
  });
}

/** SKEP_STATE_FULL of these. */
export function isStateFull(thrown: unknown): boolean {
  return fullness(thrown) !== null;
}

function fullness(thrown: unknown): string | null {
  const name = systemErrorName(thrown);
  if (name === "ENOSPC" || name === "EDQUOT") return name;
  if (!(thrown instanceof Error)) return null;
  const { code, errcode } = thrown as { code?: unknown; errcode?: unknown };
  const isFull = code === "ERR_SQLITE_ERROR" && typeof errcode === "number" && (errcode & 0xff) === sqliteFull;
  return isFull ? thrown.message : null;
}

/** As explainFullState, where all that was done was in that folder: read-only or forbidden is SKEP_STATE_UNWRITABLE. */
export function explainStateError(thrown: unknown, act: string, stateDir: string): unknown {
  const name = systemErrorName(thrown);
  if (name === "EROFS" || name === "EACCES" || name === "EPERM") {
    return new SkepError({
      code: "SKEP_STATE_UNWRITABLE",
      message: `cannot ${act} in the agent's state folder ${stateDir}: not writable (${name})`,
      permanent: true,
      hint: "check its owner, mode and mount, or keep the state elsewhere (SKEP_STATE_DIR, --state-dir)",
      cause: thrown,
    });
  }
  return explainFullState(thrown, act, stateDir);
}
