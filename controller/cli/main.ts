#!/usr/bin/env node
// The `skep` command. Each command is a file in command/, listed in command-list.ts; the exit codes are in exit-code.ts.
import { Command, CommanderError } from "commander";
import { SkepError } from "../../shared/errors.ts";
import { skepVersion } from "../../shared/version.ts";
import { commandList } from "./command-list.ts";
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

const [first = "", second = ""] = process.argv.slice(2);
const asked = commandList.get(first === "help" ? second : first);
if (asked !== undefined) (await asked.load()).register(program);
else {
  for (const [name, { description }] of commandList) {
    program.command(name).description(description);
  }
}

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
    const fault = error instanceof CommanderError ? usageError(error) : error;
    printFailure(makeOutput(process.argv.includes("--json")), fault);
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
