// How a machine's engine is set up now, asked over SSH.
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import type { RemoteMachine } from "../remote-machine.ts";
import type { PresentSetup } from "./engine-setup.ts";
import { daemonFile, parseSettings } from "./stored-setup.ts";

const pluginsSchema = z.array(z.looseObject({ Name: z.string(), Enabled: z.boolean() })).nullable();
const lookScript = 'if [ -f "$1" ]; then cat "$1"; fi';
const sumScript = 'for file do if [ -f "$file" ]; then sha256sum "$file"; fi; done';
/** A command line has its bounds. */
const pathsAtOnce = 50;
const sumLine = /^\\?([0-9a-f]{64}) [ *](.+)$/;

/** `paths`: of the files to look at. Throws what SSH and the engine throw, SKEP_RECOVERY_SETUP_INVALID. */
export async function readPresentSetup(
  machine: RemoteMachine,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<PresentSetup> {
  const plugins = await machine.engine(pluginsSchema, { path: "/plugins" }, signal).catch((error: unknown) => {
    // An engine without plugins says that it has no such page.
    if (error instanceof SkepError && error.code === "SKEP_DOCKER_NOT_FOUND") return null;
    throw error;
  });
  const settings = await machine.mustRun(["/bin/sh", "-c", lookScript, "look", daemonFile], { signal });
  const files = new Map<string, string>();
  for (let at = 0; at < paths.length; at += pathsAtOnce) {
    const some = paths.slice(at, at + pathsAtOnce);
    const sums = await machine.mustRun(["/bin/sh", "-c", sumScript, "sums", ...some], { signal });
    for (const line of sums.split("\n")) {
      const [, sum, path] = sumLine.exec(line) ?? [];
      if (sum !== undefined && path !== undefined) files.set(path, sum);
    }
  }
  return {
    settings: settings === "" ? null : parseSettings(Buffer.from(settings), `${daemonFile} of ${machine.name}`),
    files,
    plugins: (plugins ?? []).filter(({ Enabled }) => Enabled).map(({ Name }) => Name),
  };
}
