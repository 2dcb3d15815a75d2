// Which containers are stopped for a backup of a volume, and in what order: those that run on it and belong to no
// service, and with each of them those that live in its namespaces, which would be cut off, or end, with it.
import { helperLabel } from "../docker.ts";
import { containerName, type Container, type InspectedContainer } from "../docker-objects.ts";
import { usesPlace, type VolumePlace } from "../volume-place.ts";
import { restartPolicyOf, type StoppedContainer } from "./stopped-container.ts";

/** One that runs: as the engine lists it, and as it tells of it. */
export interface RunningContainer {
  listed: Container;
  inspected: InspectedContainer;
}

export interface StopRefusal {
  container: string;
  /** Goes on after "container NAME is not stopped:". */
  message: string;
  hint: string;
}

export type StopPlan = { stops: StoppedContainer[]; refusal: null } | { stops: []; refusal: StopRefusal };

/** The engine's own patience, docker stop: `--timeout`. */
const defaultStopSeconds = 10;

/** `ownId`: of the container that this process runs in. The first of `stops` are in layer 0, and are stopped first. */
export function planStops(running: readonly RunningContainer[], place: VolumePlace, ownId: string | null): StopPlan {
  const usable = running.filter(({ listed }) => !isSkeps(listed) && !isTask(listed));
  const chosen = new Set(usable.filter(({ listed }) => usesPlace(listed, place)));
  // A set that grows is walked to its end, so those that depend on a dependent come too.
  for (const owner of chosen) {
    for (const other of usable) if (livesIn(other.inspected, owner)) chosen.add(other);
  }
  const stops: StoppedContainer[] = [];
  const layers = layersOf([...chosen]);
  for (const [layer, members] of layers.entries()) {
    for (const { listed, inspected } of members) {
      const refusal = refusalOf(inspected, containerName(listed), ownId);
      if (refusal !== null) return { stops: [], refusal };
      stops.push({
        ...{ id: inspected.Id, name: containerName(listed), layer },
        startedAt: inspected.State.StartedAt,
        restartPolicy: restartPolicyOf(inspected),
        stopSeconds: inspected.Config.StopTimeout ?? defaultStopSeconds,
      });
    }
  }
  return { stops, refusal: null };
}

function isSkeps({ Labels }: Container): boolean {
  return Labels?.[helperLabel] !== undefined;
}

/** Of a service: its manager would only start another one. */
function isTask({ Labels }: Container): boolean {
  return Labels?.["com.docker.swarm.task.id"] !== undefined || Labels?.["com.docker.swarm.service.id"] !== undefined;
}

function livesIn({ HostConfig }: InspectedContainer, owner: RunningContainer): boolean {
  const { NetworkMode, PidMode, IpcMode } = HostConfig;
  const names = [`container:${owner.inspected.Id}`, `container:${containerName(owner.listed)}`];
  return [NetworkMode, PidMode, IpcMode].some((mode) => mode !== undefined && names.includes(mode));
}

function refusalOf(
  { Id, HostConfig, Config }: InspectedContainer,
  name: string,
  ownId: string | null,
): StopRefusal | null {
  const refuse = (message: string, hint: string): StopRefusal => ({ container: name, message, hint });
  if (Id === ownId)
    return refuse("Skep itself runs in it", "pause nothing that Skep needs; give its volume other words");
  if (HostConfig.AutoRemove === true) {
    return refuse(
      "the engine would remove it then (--rm)",
      "pause it instead: skep.quiesce=pause; or run it without --rm",
    );
  }
  if ((Config.StopTimeout ?? 0) < 0) {
    return refuse(
      "it may take for ever to stop (--stop-timeout -1)",
      "give it a stop timeout, or pause it instead: skep.quiesce=pause",
    );
  }
  return null;
}

/** Each in a layer before all that it depends on. What depends on itself, by others, is in the last. */
function layersOf(members: readonly RunningContainer[]): RunningContainer[][] {
  const layers: RunningContainer[][] = [];
  let left = [...members];
  while (left.length > 0) {
    const free = left.filter((each) => !left.some((other) => other !== each && dependsOn(other, each)));
    const layer = free.length === 0 ? left : free;
    layers.push(layer);
    left = left.filter((each) => !layer.includes(each));
  }
  return layers;
}

function dependsOn(one: RunningContainer, other: RunningContainer): boolean {
  if (livesIn(one.inspected, other)) return true;
  const [labels, others] = [one.listed.Labels ?? {}, other.listed.Labels ?? {}];
  const project = labels["com.docker.compose.project"];
  if (project === undefined || project !== others["com.docker.compose.project"]) return false;
  const service = others["com.docker.compose.service"];
  // `db:service_healthy:false,cache:service_started:true`, as docker compose writes it.
  const needs = (labels["com.docker.compose.depends_on"] ?? "").split(",").map((need) => need.split(":")[0]?.trim());
  return service !== undefined && needs.includes(service);
}
