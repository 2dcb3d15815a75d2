// What a machine needs besides its volumes to take part in the swarm again, read from the engine and from the
// host's files; and the list of what this node's containers mount.
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import type { ArchiveFile } from "../../shared/repository/archive-writer.ts";
import type { NotCovered, Warning } from "../../shared/repository/run.ts";
import type { Docker } from "../docker.ts";
import {
  containerName,
  type Container,
  type EngineInfo,
  type SwarmNode,
  type SwarmService,
  type Volume,
} from "../docker-objects.ts";
import { resolveHostPath } from "../host-path.ts";
import { isWithinAny, placeAmong, useOf } from "../volume-place.ts";
import { bytesFile, jsonFile } from "./archive-file.ts";
import { foundImages } from "./found-images.ts";
import { hostAddresses } from "./host-addresses.ts";
import { skepLabels } from "./skep-labels.ts";
import { volumeKind } from "../../shared/volume-kind.ts";
import { sharedIdOf, volumeFacts } from "./volume-kind.ts";

type FoundVolume = TaskResultOf<"node">["volumes"][number];

export interface NodeFacts {
  files: ArchiveFile[];
  volumes: TaskResultOf<"node">["volumes"];
  images: TaskResultOf<"node">["images"];
  notCovered: NotCovered[];
  /** What could not be read. */
  warnings: Warning[];
}

/** How the engine is set up: taken along as it is, where it is there. */
const engineFiles = [
  "/etc/docker/daemon.json",
  "/etc/docker/certs.d",
  "/etc/docker/plugins",
  "/usr/lib/docker/plugins",
  "/etc/cdi",
  "/etc/default/docker",
  "/etc/sysconfig/docker",
  "/etc/systemd/system/docker.service.d",
  "/etc/systemd/system/docker.service",
] as const;
const largestFileBytes = 1024 * 1024;
const mostFiles = 2000;

export interface HostView {
  /** Where the host's / is seen. */
  root: string;
  /** Of the container that this agent runs in; null where it runs in none. Without it volumes that are mounted only while used can't be read. */
  ownContainerId: string | null;
  stateDir: string;
}

export async function readNodeFacts(
  docker: Docker,
  info: EngineInfo,
  host: HostView,
  now: number,
  signal: AbortSignal,
): Promise<NodeFacts> {
  const isManager = info.Swarm.LocalNodeState === "active" && info.Swarm.ControlAvailable;
  const [volumes, images, containers, plugins, node, services, read, addresses] = await Promise.all([
    docker.volumes(signal),
    docker.images(signal),
    docker.containers({}, signal),
    docker.plugins(signal),
    isManager ? docker.node(info.Swarm.NodeID, signal) : null,
    isManager ? docker.services(signal) : [],
    readEngineFiles(host.root, signal),
    hostAddresses(host.root),
  ]);
  const files = [
    jsonFile("node/engine.json", info),
    jsonFile("node/plugins.json", plugins),
    jsonFile("node/volumes.json", volumes),
    jsonFile("node/containers.json", containers.map(containerFacts)),
    jsonFile("node/machine.json", {
      readAt: new Date(now).toISOString(),
      engineClock: info.SystemTime ?? null,
      clockOffsetMs: info.SystemTime === undefined ? null : Date.parse(info.SystemTime) - now,
      addresses,
      engineCommandLine: await engineCommandLine(host.root),
    }),
    ...(node === null ? [] : [jsonFile("node/node.json", node)]),
    ...read.files,
  ];
  const own = ownStateVolume(containers, host);
  // Only of these can one have the bytes of another.
  const twins = volumes.filter((volume) => volumeKind(volume).kind !== "plain");
  const reasons = new Map(volumes.map((volume) => [volume, uncoverable(volume, host, own, info.Name)]));
  const covered = volumes.filter((volume) => reasons.get(volume) === null);
  return {
    files,
    volumes: covered.map((volume) => ({
      facts: volumeFacts(volume),
      sharedId: sharedIdOf(volume),
      ...usersOf(volume, twins, containers),
    })),
    images: foundImages(images, containers),
    notCovered: [
      ...[...reasons.values()].filter((reason) => reason !== null),
      ...mountsNotCovered(containers, services, covered, info.Name),
    ],
    warnings: read.warnings,
  };
}

/** Why a volume can't be backed up here; null where it can. */
function uncoverable(volume: Volume, host: HostView, own: string | null, hostname: string): NotCovered | null {
  const { kind } = volumeKind(volume);
  const left = (reason: NotCovered["reason"], message: string): NotCovered => ({
    kind: "volume",
    name: `${hostname}/${volume.Name}`,
    hostname,
    reason,
    message,
  });
  if (volume.Name === own) return left("not-selected", "is Skep's own state: cache, journal and the agent's key");
  if (kind === "tmpfs") return left("tmpfs", "lies in memory and is gone with its containers");
  if ((kind === "mounted" || kind === "plugin") && host.ownContainerId === null) {
    return left(
      "unsupported",
      `a volume of driver ${volume.Driver} with its own mount is read through a container of Skep's image: run the agent as a container`,
    );
  }
  return null;
}

/** The volume that holds this agent's state folder; null outside of a container. */
function ownStateVolume(containers: readonly Container[], host: HostView): string | null {
  const own = containers.find((container) => container.Id === host.ownContainerId);
  return own?.Mounts?.find(({ Type, Destination }) => Type === "volume" && Destination === host.stateDir)?.Name ?? null;
}

/** What ended of a service was replaced, and says nothing any more: the service does. */
function usersOf(
  volume: Volume,
  twins: readonly Volume[],
  containers: readonly Container[],
): Pick<FoundVolume, "usedBy" | "users"> {
  const place = placeAmong([volume.Name], [volume, ...twins]);
  const found = containers.flatMap((container) => {
    const uses = useOf(container, place);
    return uses === null ? [] : [{ container, uses }];
  });
  const names = found.map(
    ({ container }) => container.Labels?.["com.docker.swarm.service.name"] ?? containerName(container),
  );
  const users = found
    .map(({ container, uses }) => ({
      container: containerName(container),
      uses,
      serviceId: container.Labels?.["com.docker.swarm.service.id"] ?? null,
      runs: container.State === "running" || container.State === "paused",
      labels: skepLabels(container.Labels),
    }))
    .filter(({ runs, serviceId, labels }) => runs || (serviceId === null && Object.keys(labels).length > 0));
  return { usedBy: [...new Set(names)].slice(0, 1000), users: users.slice(0, 1000) };
}

function containerFacts(container: Container): object {
  const { Id, Names, Labels, Mounts } = container;
  return { Id, Names, Image: container.Image, State: container.State, Labels, Mounts };
}

/** Sources that belong to the machine or the engine, not to an application's data. */
const machinePaths = /^\/(?:(?:proc|sys|dev|run|var\/run)(?:\/.*)?|)$/;

function mountsNotCovered(
  containers: readonly Container[],
  services: readonly SwarmService[],
  covered: readonly Volume[],
  hostname: string,
): NotCovered[] {
  const found = new Map<string, NotCovered>();
  for (const container of containers) {
    const user = container.Labels?.["com.docker.swarm.service.name"] ?? containerName(container);
    for (const mount of container.Mounts ?? []) {
      const { Type, Source = "" } = mount;
      if (Type === "bind" && Source !== "" && !machinePaths.test(Source) && !isWithinAny(Source, covered)) {
        const name = `${hostname}:${Source}`;
        found.set(name, {
          kind: "bind",
          name,
          hostname,
          reason: "bind-mount",
          message: `a folder of the host, mounted by ${user} at ${mount.Destination}`,
        });
      }
      if (mount.Type === "tmpfs") {
        const name = `${hostname}:${user}:${mount.Destination}`;
        const message = `memory, mounted by ${user} at ${mount.Destination}`;
        found.set(name, { kind: "bind", name, hostname, reason: "tmpfs", message });
      }
    }
  }
  for (const service of services) {
    for (const mount of service.Spec.TaskTemplate.ContainerSpec?.Mounts ?? []) {
      if (mount.Type !== "cluster") continue;
      const name = `${service.Spec.Name}:${mount.Source ?? ""}`;
      const message = `a cluster volume (CSI) of ${service.Spec.Name}; Skep does not read these yet`;
      found.set(name, { kind: "volume", name, reason: "unsupported", message });
    }
  }
  return [...found.values()];
}

async function readEngineFiles(
  hostRoot: string,
  signal: AbortSignal,
): Promise<{ files: ArchiveFile[]; warnings: Warning[] }> {
  const files: ArchiveFile[] = [];
  const warnings: Warning[] = [];
  const take = async (hostPath: string): Promise<void> => {
    signal.throwIfAborted();
    const warn = (why: string): void => {
      warnings.push({ code: "SKEP_NODE_FILE_LEFT_OUT", message: `${hostPath} ${why} and was left out` });
    };
    try {
      const here = await resolveHostPath(hostRoot, hostPath);
      const found = await stat(here);
      if (found.isDirectory()) {
        for (const name of (await readdir(here)).sort()) await take(path.posix.join(hostPath, name));
      } else if (!found.isFile()) warn("is no regular file");
      else if (found.size > largestFileBytes) warn(`is larger than ${largestFileBytes} bytes`);
      else if (files.length >= mostFiles) warn(`is more than ${mostFiles} files`);
      else {
        files.push(
          bytesFile(`node/files${hostPath}`, await readFile(here), found.mode & 0o7777, Math.trunc(found.mtimeMs)),
        );
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "ENOTDIR") return;
      if (code === "EACCES" || code === "EPERM" || code === "EIO") warn(`cannot be read (${code})`);
      else throw error;
    }
  };
  for (const file of engineFiles) await take(file);
  return { files, warnings };
}

/** How dockerd was started, from the host's process list; null where it isn't seen. */
async function engineCommandLine(hostRoot: string): Promise<string[] | null> {
  const processes = path.join(hostRoot, "proc");
  const ids = (await readdir(processes).catch(() => [])).filter((name) => /^\d+$/.test(name));
  for (const id of ids) {
    const read = (file: string): Promise<string> => readFile(path.join(processes, id, file), "utf8").catch(() => "");
    if ((await read("comm")).trim() === "dockerd") return (await read("cmdline")).split("\0").filter((part) => part);
  }
  return null;
}

/** What stands in the way of a backup on this node, for people. */
export async function nodeProblems(info: EngineInfo, node: SwarmNode | null, hostRoot: string): Promise<string[]> {
  const problems: string[] = [];
  const volumes = path.posix.join(info.DockerRootDir, "volumes");
  const seen = await stat(await resolveHostPath(hostRoot, volumes)).catch(() => null);
  if (seen?.isDirectory() !== true) {
    problems.push(`the engine's ${volumes} is not seen under ${hostRoot}: bind the host's / there (SKEP_HOST_ROOT)`);
  }
  if (info.OSType !== "linux") problems.push(`the engine runs on ${info.OSType}; Skep reads volumes of Linux only`);
  if (info.Swarm.LocalNodeState === "locked") problems.push("the swarm is locked: `docker swarm unlock` it");
  if (info.Swarm.LocalNodeState === "error") problems.push(`the swarm is in error: ${info.Swarm.Error}`);
  if (node !== null && node.Status.State !== "ready") problems.push(`the node's state is ${node.Status.State}`);
  return problems;
}
