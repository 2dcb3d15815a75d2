#!/usr/bin/env node
// The `skep` command. Each command is a file in command/; the exit codes are in exit-code.ts.
import { Command, CommanderError } from "commander";
import { SkepError } from "../../shared/errors.ts";
import { skepVersion } from "../../shared/version.ts";
import { register as registerAgents } from "./command/agents.ts";
import { register as registerBackup } from "./command/backup.ts";
import { register as registerDaemons } from "./command/daemon.ts";
import { register as registerDoctor } from "./command/doctor.ts";
import { register as registerHealthy } from "./command/healthy.ts";
import { register as registerInit } from "./command/init.ts";
import { register as registerPolicy } from "./command/policy.ts";
import { register as registerRuns } from "./command/runs.ts";
import { register as registerShow } from "./command/show.ts";
import { register as registerVersion } from "./command/version.ts";
import { exitCodes } from "./exit-code.ts";
import { makeOutput, printFailure } from "./output.ts";

const program = new Command("skep")
  .description("Backs up a whole Docker Swarm, and brings it back.")
  .version(skepVersion, "--version", "print the version of this CLI")
  .helpOption("-h, --help", "show help")
  .helpCommand("help [command]", "show help for a command")
  .showSuggestionAfterError()
  .configureOutput({ outputError: () => undefined })
  .exitOverride();

const commands = [
  registerInit,
  registerDoctor,
  registerAgents,
  registerBackup,
  registerRuns,
  registerShow,
  registerPolicy,
  registerDaemons,
  registerVersion,
  registerHealthy,
];
for (const register of commands) register(program);

// A reader that had enough (`skep runs | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(process.exitCode ?? exitCodes.done);
});

try {
  await program.parseAsync();
} catch (error) {
  // Help was printed where it was asked for, or no command was given.
  if (error instanceof CommanderError && error.code.startsWith("commander.help")) {
    process.exitCode = error.exitCode === 0 ? exitCodes.done : exitCodes.failed;
  } else if (!(error instanceof CommanderError && error.exitCode === 0)) {
    process.exitCode = exitCodes.failed;
    printFailure(
      makeOutput(process.argv.includes("--json")),
      error instanceof CommanderError ? usageError(error) : error,
    );
  }
}

function usageError(error: CommanderError): SkepError {
  return new SkepError({
    code: "SKEP_CLI_USAGE",
    message: error.message.replace(/^error: /, ""),
    permanent: true,
    hint: "`skep --help` lists the commands, `skep COMMAND --help` their options",
  });
}
