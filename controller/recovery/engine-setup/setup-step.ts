// Sets a machine's engine up as those were whose place it takes: files of registries first, then daemon.json, whose former
// one stays beside it, and comes back where the engine does not start with the new one.
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../../shared/errors.ts";
import type { StepResult } from "../journal.ts";
import { machineOf, plannedMachine, type RecoveryTools } from "../recovery-tools.ts";
import type { RemoteMachine } from "../remote-machine.ts";
import type { StepContext } from "../steps.ts";
import { compareSetup } from "./engine-setup.ts";
import { readPresentSetup } from "./present-setup.ts";
import { setupPaths, storedSetupsFor } from "./setup-sources.ts";
import { daemonFile } from "./stored-setup.ts";

const unitTimeoutMs = 180_000;
const engineTimeoutMs = 60_000;
const pollMs = 500;

/** What was there is kept once, as it was before this recovery. */
const layScript = `set -eu
umask 022
mkdir -p "$(dirname "$1")"
umask 077
cat > "$1.skep-new"
chmod "$2" "$1.skep-new"
if [ -e "$1" ] && [ ! -e "$1.before-$3" ]; then cp -p "$1" "$1.before-$3"; fi`;
const takeScript = 'sync "$1.skep-new" && mv -f "$1.skep-new" "$1"';
/** Until the engine has been started anew with it: this may be cut off in between. */
const takeSettingsScript = `: > "$1.skep-restart" && ${takeScript}`;
const isRestartDueScript = 'if [ -e "$1.skep-restart" ]; then echo due; fi';
const restartedScript = 'rm -f "$1.skep-restart"';
const backScript = 'if [ -e "$1.before-$2" ]; then cp -p "$1.before-$2" "$1"; else rm -f "$1"; fi';

/** Throws SKEP_RECOVERY_SETUP_REFUSED where the engine does not take the settings. */
export async function setEngineUp(tools: RecoveryTools, name: string, context: StepContext): Promise<StepResult> {
  const { signal } = context;
  const machine = machineOf(tools, name);
  const stored = storedSetupsFor(plannedMachine(tools, name), tools.source.setups);
  const { wanted, settings, files } = compareSetup(stored, await readPresentSetup(machine, setupPaths(stored), signal));
  for (const [index, { path, mode, content }] of files.entries()) {
    context.onProgress(path, index / files.length);
    await lay(tools, machine, { path, mode, content }, signal);
    await machine.mustRun(["/bin/sh", "-c", takeScript, "take", path], { signal });
  }
  if (wanted !== null) {
    context.onProgress(daemonFile, null);
    const content = Buffer.from(`${JSON.stringify(wanted, null, 2)}\n`);
    await lay(tools, machine, { path: daemonFile, mode: 0o644, content }, signal);
    await validate(machine, signal);
    await machine.mustRun(["/bin/sh", "-c", takeSettingsScript, "take", daemonFile], { signal });
  }
  if ((await machine.mustRun(["/bin/sh", "-c", isRestartDueScript, "look", daemonFile], { signal })) !== "") {
    context.onProgress("the engine is restarted", null);
    await restartOrTakeBack(tools, machine, signal);
  }
  return { settings, files: files.map(({ path }) => path) };
}

async function lay(
  { recoveryId }: RecoveryTools,
  machine: RemoteMachine,
  { path, mode, content }: { path: string; mode: number; content: Uint8Array },
  signal: AbortSignal,
): Promise<void> {
  const argv = ["/bin/sh", "-c", layScript, "lay", path, mode.toString(8), recoveryId];
  await machine.mustRun(argv, { input: content, signal });
}

/** Engines before 23.0 can't be asked. */
async function validate(machine: RemoteMachine, signal: AbortSignal): Promise<void> {
  const argv = ["dockerd", "--validate", "--config-file", `${daemonFile}.skep-new`];
  const { code, stderr } = await machine.run(argv, { signal });
  if (code === 0 || /unknown flag|not found/.test(stderr)) return;
  throw refused(machine, stderr, "nothing was changed there");
}

async function restartOrTakeBack(tools: RecoveryTools, machine: RemoteMachine, signal: AbortSignal): Promise<void> {
  const why = await restart(machine, signal);
  if (why === null) {
    await machine.mustRun(["/bin/sh", "-c", restartedScript, "restarted", daemonFile], { signal });
    return;
  }
  await machine.mustRun(["/bin/sh", "-c", backScript, "back", daemonFile, tools.recoveryId], { signal });
  const still = await restart(machine, signal);
  await machine.mustRun(["/bin/sh", "-c", restartedScript, "restarted", daemonFile], { signal });
  throw refused(machine, why, still === null ? "the former daemon.json is back" : `with the former one too: ${still}`);
}

/** Null once it answers, else why it doesn't. */
async function restart(machine: RemoteMachine, signal: AbortSignal): Promise<string | null> {
  // Else one that failed to start just now may not be started again so soon.
  await machine.run(["systemctl", "reset-failed", "docker.service"], { signal });
  const options = { signal, timeoutMs: unitTimeoutMs };
  const { code, stderr } = await machine.run(["systemctl", "restart", "docker.service"], options);
  if (code !== 0) return stderr.trim();
  const giveUpAt = performance.now() + engineTimeoutMs;
  for (;;) {
    try {
      await machine.askEngine({ path: "/info" }, signal);
      return null;
    } catch (error) {
      signal.throwIfAborted();
      if (performance.now() > giveUpAt) return error instanceof Error ? error.message : String(error);
      await sleep(pollMs, undefined, { signal });
    }
  }
}

function refused({ name }: RemoteMachine, why: string, then: string): SkepError {
  return new SkepError({
    code: "SKEP_RECOVERY_SETUP_REFUSED",
    message: `the engine of ${name} does not take the settings of the node's daemon.json: ${why.trim()}; ${then}`,
    permanent: true,
    hint: "set it up by hand, and go on without --apply-node-facts",
  });
}
