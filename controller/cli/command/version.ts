// skep version: of this CLI, of the Node.js that runs it, and of the controller where one is reachable.
import type { Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { skepVersion } from "../../../shared/version.ts";
import { healthSchema } from "../../api/schemas.ts";
import { accessApi, addApiOptions, addKitOption, type ApiOptions } from "../access.ts";
import type { VersionDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import { describe, run, type Session } from "../session.ts";

export function register(program: Command): void {
  const command = program.command("version").description("show the versions of the CLI and of the controller");
  addApiOptions(addKitOption(command));
  run(describe(command, "skep version --kit skep-kit"), version);
}

async function version({ output, signal }: Session, options: ApiOptions): Promise<ExitCode> {
  const { version: controllerVersion, why } = await versionOfController(options, signal);
  const document: VersionDocument = { skepVersion, nodeVersion: process.versions.node, controllerVersion };
  output.document(document);
  output.print(`skep ${skepVersion} (Node.js ${process.versions.node})`);
  if (controllerVersion !== null) output.print(`controller ${controllerVersion}`);
  if (why !== null) output.say(why);
  return exitCodes.done;
}

async function versionOfController(
  options: ApiOptions,
  signal: AbortSignal,
): Promise<{ version: string | null; why: string | null }> {
  try {
    const api = await accessApi(options);
    const health = await api.call({ path: "/v1/health", schema: healthSchema }, signal);
    return { version: health.skepVersion, why: null };
  } catch (error) {
    if (!(error instanceof SkepError) || error.code === "SKEP_CLI_INTERRUPTED") throw error;
    return { version: null, why: error.code === "SKEP_CLI_USAGE" ? null : error.message };
  }
}
