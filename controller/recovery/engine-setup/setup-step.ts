// Sets a machine's engine up as those were whose place it takes: files of registries, and daemon.json, whose former one
// stays beside it and comes back where the engine does not start with the new one.
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../../shared/errors.ts";
import type { StepResult } from "../journal.ts";
import type { RemoteMachine } from "../remote-machine.ts";
import type { StepContext } from "../steps.ts";
import { compareSetup } from "./engine-setup.ts";
import { readPresentSetup } from "./present-setup.ts";
import { setupPaths } from "./setup-sources.ts";
import { daemonFile, type StoredSetup } from "./stored-setup.ts";

/** Two restarts of an engine. */
const restartTimeoutMs = 400_000;
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
/** Ends with it whatever becomes of the operator's end: the machine is left with an engine that runs. */
const restartScript = `set -u
restart() {
  systemctl reset-failed docker.service 2> /dev/null
  systemctl restart docker.service
}
if restart; then rm -f "$1.skep-restart"; exit 0; fi
if [ -e "$1.before-$2" ]; then cp -p "$1.before-$2" "$1"; else rm -f "$1"; fi
rm -f "$1.skep-restart"
if restart; then exit 3; fi
exit 4`;
/** The mark tells one who comes after a loss of power that the restart is due. */
const takeSettingsScript = `: > "$1.skep-restart" && ${takeScript} || exit 5
${restartScript}`;
const restartDueScript = `if [ ! -e "$1.skep-restart" ]; then exit 0; fi
${restartScript}`;
const takenBack = 3;
const notEvenThat = 4;

interface Setting {
  machine: RemoteMachine;
  /** Of the files that are kept. */
  recoveryId: string;
}

/** Throws SKEP_RECOVERY_SETUP_REFUSED where the engine does not take the settings. */
export async function setEngineUp(
  setting: Setting,
  stored: readonly StoredSetup[],
  { signal, onProgress }: Pick<StepContext, "signal" | "onProgress">,
): Promise<StepResult> {
  const { machine } = setting;
  await restart(setting, restartDueScript, signal);
  const { wanted, settings, files } = compareSetup(stored, await readPresentSetup(machine, setupPaths(stored), signal));
  if (wanted !== null) {
    const content = Buffer.from(`${JSON.stringify(wanted.settings, null, 2)}\n`);
    await lay(setting, { path: daemonFile, mode: wanted.mode, content }, signal);
    await validate(machine, signal);
  }
  for (const [index, file] of files.entries()) {
    onProgress(file.path, index / files.length);
    await lay(setting, file, signal);
    await machine.mustRun(["/bin/sh", "-c", takeScript, "take", file.path], { signal });
  }
  if (wanted !== null) {
    onProgress("the engine is restarted", null);
    await restart(setting, takeSettingsScript, signal);
  }
  return { settings, files: files.map(({ path }) => path) };
}

async function lay(
  { machine, recoveryId }: Setting,
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

async function restart({ machine, recoveryId }: Setting, script: string, signal: AbortSignal): Promise<void> {
  const argv = ["/bin/sh", "-c", script, "restart", daemonFile, recoveryId];
  const { code, stderr } = await machine.run(argv, { signal, timeoutMs: restartTimeoutMs });
  if (code === takenBack) throw refused(machine, stderr, "the former daemon.json is back, and the engine runs");
  if (code === notEvenThat) throw refused(machine, stderr, "the former daemon.json is back, and it starts not even so");
  if (code !== 0) {
    throw new SkepError({
      code: "SKEP_RECOVERY_COMMAND",
      message: `on ${machine.name} ${daemonFile} could not be replaced: ${stderr.trim()}`,
      permanent: false,
      hint: "is there room on its disk?",
    });
  }
  const giveUpAt = performance.now() + engineTimeoutMs;
  for (;;) {
    try {
      await machine.askEngine({ path: "/info" }, signal);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (performance.now() > giveUpAt) throw error;
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
