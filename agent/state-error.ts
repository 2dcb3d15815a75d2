// What goes wrong with the agent's own state folder, as an error that says what to do.
import { SkepError } from "../shared/errors.ts";
import { systemErrorName } from "../shared/system-error.ts";

/** A full disk as SKEP_STATE_FULL, everything else as it is. `act`: "copy the Raft state". */
export function explainFullState(thrown: unknown, act: string, stateDir: string): unknown {
  const name = systemErrorName(thrown);
  if (name !== "ENOSPC" && name !== "EDQUOT") return thrown;
  return new SkepError({
    code: "SKEP_STATE_FULL",
    message: `cannot ${act} in the agent's state folder ${stateDir}: no room left (${name})`,
    permanent: true,
    hint: "free space on that disk, or keep the state on another one (SKEP_STATE_DIR, --state-dir)",
    cause: thrown,
  });
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
