// The way that keeps entries (planned-survivor.ts) stops the survivor's engine for a while. Where a call is cut off in it, an
// engine that was just started could find no swarm directory: a person has to be told how this one gets on.
import { SkepError, toErrorRecord } from "../../../shared/errors.ts";
import type { SwarmHost } from "../../swarm-restore/host.ts";
import { howToGoBack, readJournal } from "../../swarm-restore/journal.ts";

/** Null where the host's engine answers, or nothing is being laid down there. Throws what reading its journal throws. */
export async function stoppedEngine(host: SwarmHost, dataRoot: string, signal: AbortSignal): Promise<SkepError | null> {
  if (!(await isUnreachable(host, signal))) return null;
  const journal = await readJournal(host, dataRoot, signal);
  if (journal === null) return null;
  // An engine may start where the former directory is untouched, or the new one in its place.
  const commands =
    journal.phase === "moving" ? await howToGoBack(host, dataRoot, signal) : "systemctl start docker.service";
  return new SkepError({
    code: "SKEP_RECOVERY_ENGINE_STOPPED",
    message: `the engine of ${host.name} is stopped: this recovery was cut off while it laid the swarm directory down`,
    permanent: true,
    hint: `as root on ${host.name}: ${commands}; then the same command goes on`,
  });
}

async function isUnreachable(host: SwarmHost, signal: AbortSignal): Promise<boolean> {
  try {
    await host.askEngine({ path: "/info" }, signal);
    return false;
  } catch (error) {
    signal.throwIfAborted();
    return toErrorRecord(error).code === "SKEP_DOCKER_UNREACHABLE";
  }
}
