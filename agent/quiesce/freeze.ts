// Freezing containers. The kernel freezes no process that waits for its disk, as a database under load does, and the engine
// gives up on it after a second or so: so it is told again.
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../shared/errors.ts";
import type { Docker } from "../docker.ts";

const freezeMs = 20_000;
const againMs = 500;

/** `ownId`: of the container that this process runs in: frozen, it would let nothing go again. Throws SKEP_PAUSE_FAILED. */
export function refuseOwn(containers: readonly { id: string; name: string }[], ownId: string | null): void {
  const own = containers.find(({ id }) => id === ownId);
  if (own === undefined) return;
  throw new SkepError({
    code: "SKEP_PAUSE_FAILED",
    message: `container ${own.name} is not paused: Skep itself runs in it`,
    permanent: true,
    hint: "pause nothing that Skep needs; give its volume other words",
  });
}

/**
 * Throws SKEP_PAUSE_FAILED, and the signal's reason; once the engine has answered for each, so that none is frozen after
 * the others were let go.
 */
export async function freezeAll(
  containers: readonly { id: string; name: string }[],
  docker: Pick<Docker, "pauseContainer">,
  signal: AbortSignal,
): Promise<void> {
  const frozen = await Promise.allSettled(containers.map((each) => freeze(each, docker, signal)));
  for (const each of frozen) if (each.status === "rejected") throw each.reason;
  signal.throwIfAborted();
}

/** The call is not aborted: what the engine made of it must be known before the container is let go. */
async function freeze(
  { id, name }: { id: string; name: string },
  docker: Pick<Docker, "pauseContainer">,
  signal: AbortSignal,
): Promise<void> {
  const until = performance.now() + freezeMs;
  for (;;) {
    signal.throwIfAborted();
    try {
      await docker.pauseContainer(id);
      return;
    } catch (error) {
      const mayPass = error instanceof SkepError && error.code === "SKEP_DOCKER_FAILED" && !error.permanent;
      if (!mayPass || performance.now() > until) throw notPaused(name, error);
    }
    await sleep(againMs, undefined, { signal }).catch(() => {
      signal.throwIfAborted();
    });
  }
}

function notPaused(name: string, error: unknown): SkepError {
  return new SkepError({
    code: "SKEP_PAUSE_FAILED",
    message: `container ${name} could not be paused: ${(error as Error).message}`,
    permanent: true,
    hint: "did it just end, or does its disk hang? Those that were paused go on",
    cause: error,
  });
}
