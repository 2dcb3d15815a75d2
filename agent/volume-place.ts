// Where a volume's bytes are on this node, and so which containers use them: those that mount it, by whatever name, and
// those that bind its folder, or one below it, from the host. One that binds a folder above it (`/`, the data root) is
// not counted: what watches machines does so, and Skep's own agent.
import path from "node:path";
import type { Container, Volume } from "./docker-objects.ts";
import type { Docker } from "./docker-calls.ts";
import { volumeKind } from "../shared/volume-kind.ts";
import { sharedIdOf } from "./source/volume-kind.ts";

export interface VolumePlace {
  /** Of volumes with these bytes. */
  names: ReadonlySet<string>;
  /** Of volumes that are a folder in them. */
  namesBelow: ReadonlySet<string>;
  /** As the host has them. */
  folders: readonly string[];
}

/** Of all of these volumes together; those that are not there count by their names. */
export async function findPlace(
  volumes: readonly string[],
  docker: Docker,
  signal?: AbortSignal,
): Promise<VolumePlace> {
  return placeAmong(volumes, volumes.length === 0 ? [] : await docker.volumes(signal));
}

export function placeAmong(volumes: readonly string[], all: readonly Volume[]): VolumePlace {
  const own = all.filter(({ Name }) => volumes.includes(Name));
  const folders = own.flatMap(foldersOf);
  const shared = new Set(own.map(sharedIdOf).filter((id) => id !== null));
  const same = all.filter((volume) => {
    return shared.has(sharedIdOf(volume) ?? "") || foldersOf(volume).some((folder) => folders.includes(folder));
  });
  const names = new Set([...volumes, ...same.map(({ Name }) => Name)]);
  const below = all.filter((volume) => foldersOf(volume).some((folder) => isWithin(folder, folders)));
  return { names, namesBelow: new Set(below.map(({ Name }) => Name).filter((name) => !names.has(name))), folders };
}

/** `part`: of a folder in it alone, however many such. */
export type Use = "all" | "part";

/** Null for a container that does not use it. */
export function useOf({ Mounts }: Pick<Container, "Mounts">, place: VolumePlace): Use | null {
  const uses = (Mounts ?? []).map((mount) => useOfMount(mount, place));
  return uses.includes("all") ? "all" : uses.includes("part") ? "part" : null;
}

function useOfMount(
  { Type, Name = "", Source = "", RW }: NonNullable<Container["Mounts"]>[number],
  { names, namesBelow, folders }: VolumePlace,
): Use | null {
  if (Type === "volume") return names.has(Name) ? "all" : namesBelow.has(Name) ? "part" : null;
  if (Type !== "bind" || RW === false) return null;
  return folders.includes(Source) ? "all" : isWithin(Source, folders) ? "part" : null;
}

export function usesPlace(container: Pick<Container, "Mounts">, place: VolumePlace): boolean {
  return useOf(container, place) !== null;
}

/** As the engine writes a bind's source: a device is as somebody typed it. */
function foldersOf(volume: Volume): string[] {
  const kind = volumeKind(volume);
  return [volume.Mountpoint, ...(kind.kind === "bind" ? [kind.hostPath] : [])]
    .filter((folder) => folder !== "")
    .map((folder) => path.posix.normalize(folder).replace(/(.)\/$/, "$1"));
}

/** Whether a folder of the host is that of one of the volumes, or below it. */
export function isWithinAny(folder: string, volumes: readonly Volume[]): boolean {
  return isWithin(folder, volumes.flatMap(foldersOf));
}

function isWithin(folder: string, folders: readonly string[]): boolean {
  return folders.some((each) => folder === each || folder.startsWith(each === "/" ? each : `${each}/`));
}
