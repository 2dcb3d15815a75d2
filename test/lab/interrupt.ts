// Ctrl-C of whatever makes labs: they are taken away by another process, once this one is gone. This one could not do it:
// it may be in the middle of making one, and hold the lock that taking it away needs.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { join } from "node:path";

/** On the first SIGINT or SIGTERM this process ends with 130 or 143, and what it leaves of labs is swept in the background. */
export function sweepLabsOnInterrupt(): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      process.stderr.write(`\n${signal}: the labs of this process are taken away\n`);
      // In a session of its own: the terminal's next Ctrl-C is not meant for it.
      spawn(process.execPath, [join(import.meta.dirname, "main.ts"), "sweep"], { detached: true, stdio: "inherit" });
      process.exit(128 + constants.signals[signal]);
    });
  }
}
