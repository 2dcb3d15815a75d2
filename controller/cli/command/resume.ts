// skep resume: what a standalone backup that was killed left paused or stopped on this machine goes on.
import type { Command } from "commander";
import type { ResumeDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import { describe, run, type Session } from "../session.ts";
import { keeperPlace, type HostOptions } from "../standalone/host.ts";
import { undoLeft } from "../standalone/keeper.ts";
import { tellUndone } from "../standalone/undone.ts";

type ResumeOptions = Pick<HostOptions, "stateDir" | "dockerSocket">;

export function register(program: Command): void {
  const command = program
    .command("resume")
    .description("let go what a standalone backup that was killed left paused or stopped on this machine")
    .option("--state-dir <folder>", "where that backup kept its journal")
    .option("--docker-socket <path>", "the engine's socket", "/var/run/docker.sock");
  run(describe(command, "skep resume"), resume);
}

async function resume({ output }: Session, options: ResumeOptions): Promise<ExitCode> {
  const undone = (await undoLeft(keeperPlace(options))) ?? { wentOn: [], released: [], removed: [], faults: [] };
  const document: ResumeDocument = undone;
  output.document(document);
  tellUndone(output, undone);
  const { wentOn, released, removed, faults } = undone;
  for (const name of [...wentOn, ...released]) output.print(name);
  if (wentOn.length + released.length + removed.length + faults.length === 0)
    output.say("nothing was left paused or stopped");
  return faults.length === 0 ? exitCodes.done : exitCodes.failed;
}
