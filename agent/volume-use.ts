// Who uses a volume right now on this node.
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { SkepError } from "../shared/errors.ts";
import type { Docker } from "./docker.ts";
import { containerName } from "./docker-objects.ts";
import { findPlace, usesPlace } from "./volume-place.ts";

export type VolumeUser = TaskResultOf<"restore-prepare">["usedBy"][number];

/** A stopped container mounts the volume anew when it starts; one of these has it mounted, or is about to. */
const usingStates = new Set(["running", "paused", "restarting", "removing"]);

export async function volumeUsers(docker: Docker, volume: string, signal?: AbortSignal): Promise<VolumeUser[]> {
  const place = await findPlace([volume], docker, signal);
  const containers = await docker.containers({}, signal);
  return containers
    .filter((container) => usesPlace(container, place))
    .filter(({ State, Labels }) => {
      const startsBySwarm = State === "created" && Labels?.["com.docker.swarm.task.id"] !== undefined;
      return usingStates.has(State) || startsBySwarm;
    })
    .map((container) => ({
      container: containerName(container),
      serviceId: container.Labels?.["com.docker.swarm.service.id"] ?? null,
    }));
}

/** Throws SKEP_RESTORE_VOLUME_IN_USE, which lists them. */
export async function refuseWhileUsed(docker: Docker, volume: string, signal?: AbortSignal): Promise<void> {
  const users = await volumeUsers(docker, volume, signal);
  if (users.length === 0) return;
  throw new SkepError({
    code: "SKEP_RESTORE_VOLUME_IN_USE",
    message: `volume ${volume} is used by ${users.map(({ container }) => container).join(", ")}`,
    permanent: true,
    hint: "stop them, or let Skep hold their services while it restores: --stop",
  });
}
