// skep agent run, skep controller: this process becomes the daemon, so that signals, memory and the exit code are its own.
import type { Command } from "commander";
import { fileURLToPath } from "node:url";
import { SkepError } from "../../../shared/errors.ts";
import { daemonFlags } from "../../../shared/node-flags.ts";

export function register(program: Command): void {
  program
    .command("agent")
    .description("the agent of this node")
    .command("run")
    .description("run the agent; it is set up by SKEP_… variables (docs/OPERATIONS.md)")
    .addHelpText("after", "\nExample:\n  SKEP_CONFIG_FILE=/etc/skep/skep.yaml … skep agent run")
    .action(() => become("agent/main.ts"));
  program
    .command("controller")
    .description("run the controller; it is set up by SKEP_… variables (docs/OPERATIONS.md)")
    .addHelpText("after", "\nExample:\n  SKEP_CONFIG_FILE=/etc/skep/skep.yaml … skep controller")
    .action(() => become("controller/main.ts"));
}

/** Doesn't return. `main` is named, not imported: the CLI is the controller's house, which never reaches into the agent's. */
function become(main: string): never {
  if (process.execve === undefined) {
    throw new SkepError({
      code: "SKEP_CLI_PLATFORM",
      message: `a daemon cannot be started on ${process.platform}`,
      permanent: true,
      hint: "run agents and controller on Linux",
    });
  }
  const path = fileURLToPath(new URL(`../../../${main}`, import.meta.url));
  return process.execve(process.execPath, [process.execPath, ...daemonFlags, path], process.env);
}
