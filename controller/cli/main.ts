#!/usr/bin/env node
// The `skep` command. Each command is a file in command/; the exit codes are in exit-code.ts.
import { Command, CommanderError } from "commander";
import { SkepError } from "../../shared/errors.ts";
import { skepVersion } from "../../shared/version.ts";
import { exitCodes } from "./exit-code.ts";
import { makeOutput, printFailure } from "./output.ts";

interface CommandFile {
  register: (program: Command) => void;
}

const daemons = (): Promise<CommandFile> => import("./command/daemon.ts");

/** In the order of `skep --help`. Only the asked one is loaded: a health check shall not load an S3 client. */
const commands = new Map<string, () => Promise<CommandFile>>([
  ["init", () => import("./command/init.ts")],
  ["doctor", () => import("./command/doctor.ts")],
  ["agents", () => import("./command/agents.ts")],
  ["backup", () => import("./command/backup.ts")],
  ["runs", () => import("./command/runs.ts")],
  ["show", () => import("./command/show.ts")],
  ["ls", () => import("./command/ls.ts")],
  ["diff", () => import("./command/diff.ts")],
  ["export", () => import("./command/export.ts")],
  ["restore", () => import("./command/restore.ts")],
  ["recipient", () => import("./command/recipient.ts")],
  ["key", () => import("./command/key.ts")],
  ["kit", () => import("./command/kit.ts")],
  ["check", () => import("./command/check.ts")],
  ["forget", () => import("./command/forget.ts")],
  ["prune", () => import("./command/prune.ts")],
  ["compact", () => import("./command/compact.ts")],
  ["protect", () => import("./command/protect.ts")],
  ["service", () => import("./command/service.ts")],
  ["recover", () => import("./command/recover.ts")],
  ["runbook", () => import("./command/runbook.ts")],
  ["policy", () => import("./command/policy.ts")],
  ["raft", () => import("./command/raft.ts")],
  ["swarm", () => import("./command/swarm.ts")],
  ["agent", daemons],
  ["controller", daemons],
  ["version", () => import("./command/version.ts")],
  ["healthy", () => import("./command/healthy.ts")],
]);

const program = new Command("skep")
  .description("Backs up a whole Docker Swarm, and brings it back.")
  .version(skepVersion, "--version", "print the version of this CLI")
  .helpOption("-h, --help", "show help")
  .helpCommand("help [command]", "show help for a command")
  .showSuggestionAfterError()
  .configureOutput({ outputError: () => undefined })
  .exitOverride();

const asked = commands.get(process.argv[2] ?? "");
for (const load of new Set(asked === undefined ? commands.values() : [asked])) (await load()).register(program);

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
