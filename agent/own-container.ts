// The container that this process runs in, where it runs in one: helper containers are made like it.
import { readFile } from "node:fs/promises";
import type { Docker } from "./docker.ts";

export interface OwnContainer {
  id: string;
  /** Image id, `sha256:…`. */
  image: string;
}

/**
 * Null outside of a container of this engine. Docker mounts each container's /etc/hostname from
 * `<data root>/containers/<id>/hostname`, whatever the cgroup version says.
 */
export async function findOwnContainer(docker: Docker, signal?: AbortSignal): Promise<OwnContainer | null> {
  const id = containerIdOf(await readFile("/proc/self/mountinfo", "utf8"));
  if (id === null) return null;
  const image = await docker.imageOf(id, signal);
  return image === null ? null : { id, image };
}

/** By the mountinfo of proc(5): field 4 is the mounted folder within its filesystem, field 5 where it is mounted. */
export function containerIdOf(mountinfo: string): string | null {
  for (const line of mountinfo.split("\n")) {
    const [, , , source, target] = line.split(" ");
    if (target !== "/etc/hostname" && target !== "/etc/resolv.conf") continue;
    const id = /\/containers\/([0-9a-f]{64})\//.exec(source ?? "")?.[1];
    if (id !== undefined) return id;
  }
  return null;
}
