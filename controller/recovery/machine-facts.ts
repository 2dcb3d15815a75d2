// What a machine is like before anything is done to it, asked over SSH: its engine, its disk, its clock, who listens,
// where it routes. Parsed here, judged in checks.ts.
import { z } from "zod";
import type { RemoteMachine } from "./remote-machine.ts";

export interface PresentVolume {
  name: string;
  driver: string;
  options: Record<string, string>;
}

export interface MachineFacts {
  name: string;
  hostname: string;
  engineVersion: string;
  /** As Docker says it: x86_64, aarch64. */
  architecture: string;
  swarmState: string;
  /** Of the swarm that it is in; "" in none. */
  clusterId: string;
  nodeId: string;
  /** It holds Raft state, whether or not the swarm has a leader. */
  isManager: boolean;
  dataRoot: string;
  freeBytes: number;
  /** Where the kit comes to, /var/lib, and whether that is on the data root's filesystem. */
  kit: { freeBytes: number; isDataRoots: boolean };
  /** Those that are there already. */
  volumes: PresentVolume[];
  /** `TYPE NAME` of volume, network and log drivers. */
  drivers: string[];
  /** Repository tags and digests. */
  images: string[];
  /** The machine's clock less the operator's, ms; exact to some seconds. */
  clockOffsetMs: number;
  /** Local TCP ports on which somebody listens. */
  listening: number[];
  /** Local UDP ports that somebody has. */
  listeningUdp: number[];
  memoryBytes: number;
  cpus: number;
  /** Networks that it reaches directly, as CIDR; not the default route, not Docker's own. */
  routes: string[];
}

const infoSchema = z.looseObject({
  Name: z.string(),
  ServerVersion: z.string(),
  Architecture: z.string(),
  DockerRootDir: z.string(),
  MemTotal: z.int(),
  NCPU: z.int(),
  Plugins: z
    .looseObject({
      Volume: z.array(z.string()).nullish(),
      Network: z.array(z.string()).nullish(),
      Log: z.array(z.string()).nullish(),
    })
    .optional(),
  Swarm: z.looseObject({
    LocalNodeState: z.string(),
    NodeID: z.string(),
    ControlAvailable: z.boolean(),
    Cluster: z.looseObject({ ID: z.string() }).nullish(),
  }),
});
const volumesSchema = z.looseObject({
  Volumes: z
    .array(z.looseObject({ Name: z.string(), Driver: z.string(), Options: z.record(z.string(), z.string()).nullish() }))
    .nullish(),
});
const imagesSchema = z.array(
  z.looseObject({ RepoTags: z.array(z.string()).nullish(), RepoDigests: z.array(z.string()).nullish() }),
);

const mark = "--8<--";
/** One round trip; fixed text, the data root is its argument. */
const script = `date -u +%s; echo '${mark}'; stat -f -c '%a %S %i' "$1" /var/lib; echo '${mark}'; cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; echo '${mark}'; cat /proc/net/route; echo '${mark}'; cat /proc/net/ipv6_route 2>/dev/null; echo '${mark}'; cat /proc/net/udp /proc/net/udp6 2>/dev/null`;

/** Throws what SSH and the engine throw, SKEP_RECOVERY_COMMAND. `now` in ms since 1970. */
export async function readMachineFacts(
  machine: RemoteMachine,
  now: () => number,
  signal: AbortSignal,
): Promise<MachineFacts> {
  const info = await machine.engine(infoSchema, { path: "/info" }, signal);
  const { Volumes } = await machine.engine(volumesSchema, { path: "/volumes" }, signal);
  const images = await machine.engine(imagesSchema, { path: "/images/json" }, signal);
  const asked = now();
  const said = await machine.mustRun(["/bin/sh", "-c", script, "facts", info.DockerRootDir], { signal });
  const [date = "", disks = "", tcp = "", route = "", route6 = "", udp = ""] = said.split(`${mark}\n`);
  const [data, kit] = parseDisks(disks);
  return {
    name: machine.name,
    hostname: info.Name,
    engineVersion: info.ServerVersion,
    architecture: info.Architecture,
    swarmState: info.Swarm.LocalNodeState,
    clusterId: info.Swarm.Cluster?.ID ?? "",
    nodeId: info.Swarm.NodeID,
    isManager: info.Swarm.ControlAvailable,
    dataRoot: info.DockerRootDir,
    freeBytes: data?.freeBytes ?? 0,
    kit: { freeBytes: kit?.freeBytes ?? 0, isDataRoots: kit?.id === data?.id },
    volumes: (Volumes ?? []).map(({ Name, Driver, Options }) => ({
      ...{ name: Name, driver: Driver, options: Options ?? {} },
    })),
    drivers: [
      ...(info.Plugins?.Volume ?? []).map((driver) => `volume ${driver}`),
      ...(info.Plugins?.Network ?? []).map((driver) => `network ${driver}`),
      ...(info.Plugins?.Log ?? []).map((driver) => `log ${driver}`),
    ],
    images: images.flatMap(({ RepoTags, RepoDigests }) => [...(RepoTags ?? []), ...(RepoDigests ?? [])]),
    clockOffsetMs: Number(date.trim()) * 1000 - (asked + now()) / 2,
    listening: parseListening(tcp),
    listeningUdp: parseBound(udp),
    memoryBytes: info.MemTotal,
    cpus: info.NCPU,
    routes: [...parseRoutes(route), ...parseRoutes6(route6)],
  };
}

/** proc(5), /proc/net/tcp: local address in hex, state 0A is LISTEN. */
export function parseListening(text: string): number[] {
  return portsIn(text, /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /);
}

/** proc(5), /proc/net/udp: state 07 is a socket that is bound and not connected. */
export function parseBound(text: string): number[] {
  return portsIn(text, /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 07 /);
}

function portsIn(text: string, pattern: RegExp): number[] {
  const ports = new Set<number>();
  for (const line of text.split("\n")) {
    const [, port] = pattern.exec(line) ?? [];
    if (port !== undefined) ports.add(Number.parseInt(port, 16));
  }
  return [...ports].sort((a, b) => a - b);
}

/** proc(5), /proc/net/route: destination and mask as little-endian hex. */
export function parseRoutes(text: string): string[] {
  return text
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const [interfaceName, destination, , , , , , mask] = line.trim().split(/\s+/);
      if (interfaceName === undefined || destination === undefined || mask === undefined) return [];
      if (destination === "00000000" || /^(docker|br-|veth)/.test(interfaceName)) return [];
      const bits = Number.parseInt(mask, 16).toString(2).replaceAll("0", "").length;
      return [`${dotted(destination)}/${bits}`];
    });
}

/** stat(1): free blocks, the size of one, and the filesystem's id; a line for each folder. */
function parseDisks(text: string): { freeBytes: number; id: string }[] {
  return text
    .trim()
    .split("\n")
    .map((line) => {
      const [blocks, blockBytes, id = ""] = line.split(" ");
      return { freeBytes: Number(blocks) * Number(blockBytes), id };
    });
}

/** proc(5), /proc/net/ipv6_route: destination and prefix length in hex; not what every interface has by itself. */
export function parseRoutes6(text: string): string[] {
  const routes = text.split("\n").flatMap((line) => {
    const [destination, prefix, , , , , , , , interfaceName] = line.trim().split(/\s+/);
    if (destination?.length !== 32 || prefix === undefined || interfaceName === undefined) return [];
    if (prefix === "00" || /^(fe[89ab]|ff)/.test(destination) || /^(lo$|docker|br-|veth)/.test(interfaceName))
      return [];
    return [`${(destination.match(/.{4}/g) ?? []).join(":")}/${Number.parseInt(prefix, 16)}`];
  });
  return [...new Set(routes)];
}

function dotted(littleEndian: string): string {
  const bytes = littleEndian.match(/../g) ?? [];
  return bytes
    .reverse()
    .map((byte) => Number.parseInt(byte, 16))
    .join(".");
}
