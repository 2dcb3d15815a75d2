// skep healthy: for the image's health checks. Agent and controller touch a file while they work.
import type { Command } from "commander";
import { stat } from "node:fs/promises";
import { SkepError } from "../../../shared/errors.ts";
import type { HealthyDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { describe, run, type Session } from "../session.ts";

/** Both touch it every few seconds; a busy machine may be late. */
const freshMs = 60_000;

export function register(program: Command): void {
  const command = program
    .command("healthy <file>", { hidden: true })
    .description("tell whether the agent or controller that touches this file is alive");
  run(describe(command, "skep healthy /var/lib/skep/alive"), healthy);
}

async function healthy({ output }: Session, _options: object, file: string): Promise<ExitCode> {
  const ageMs = Date.now() - (await touchedAt(file));
  if (ageMs > freshMs) throw notAlive(`${file} was last touched ${format.duration(ageMs)} ago`);
  const document: HealthyDocument = { healthy: true };
  output.document(document);
  return exitCodes.done;
}

async function touchedAt(file: string): Promise<number> {
  try {
    return (await stat(file)).mtimeMs;
  } catch (error) {
    throw notAlive(`${file} cannot be looked at: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function notAlive(message: string): SkepError {
  return new SkepError({ code: "SKEP_CLI_NOT_ALIVE", message, permanent: false, hint: "look at the process's log" });
}
