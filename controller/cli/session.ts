// One call of a command: its output, its end by Ctrl-C, and the way from commander to a function that gives an
// exit code.
import type { Command } from "commander";
import { SkepError } from "../../shared/errors.ts";
import { exitCodeOf, exitCodes, type ExitCode } from "./exit-code.ts";
import { makeOutput, printFailure, type Output } from "./output.ts";

export interface Session {
  output: Output;
  /** Aborted by SIGINT, SIGTERM or SIGHUP with SKEP_CLI_INTERRUPTED. */
  signal: AbortSignal;
}

/** Adds what every command has: --json, and an example in its help. */
export function describe(command: Command, example: string): Command {
  return command
    .option("--json", "print the result as one JSON document on stdout")
    .addHelpText("after", `\nExample:\n${example.replaceAll(/^(?=.)/gm, "  ")}`);
}

/** `never` takes a function of any options: commander's are of the shape that the command's own flags say. */
type Act = (session: Session, options: never, ...values: string[]) => Promise<ExitCode>;

/** Makes `act` what the command does; its exit code, or its error's, becomes the process's. */
export function run(command: Command, act: Act): void {
  command.action(async (...given: unknown[]) => {
    // With those of the command above: `skep agents approve … --kit K`, and --kit is known to `agents` too.
    const options = command.optsWithGlobals<{ json?: boolean }>();
    const output = makeOutput(options.json ?? false);
    const values = given.slice(0, -2) as string[];
    process.exitCode = await attempt(output, (signal) => act({ output, signal }, options as never, ...values));
  });
}

const signalNames = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

async function attempt(output: Output, act: (signal: AbortSignal) => Promise<ExitCode>): Promise<ExitCode> {
  const interruption = new AbortController();
  const interrupt = (): void => {
    if (interruption.signal.aborted) process.exit(exitCodes.interrupted);
    interruption.abort(
      new SkepError({ code: "SKEP_CLI_INTERRUPTED", message: "interrupted by a signal", permanent: true }),
    );
  };
  for (const name of signalNames) process.on(name, interrupt);
  try {
    return await act(interruption.signal);
  } catch (thrown) {
    printFailure(output, thrown);
    return thrown instanceof SkepError ? exitCodeOf(thrown.code) : exitCodes.failed;
  } finally {
    for (const name of signalNames) process.off(name, interrupt);
  }
}
