// What a machine is like before anything is done to it, asked over SSH: its engine, its disk, its clock, who listens,
// where it routes. Parsed here, judged in checks.ts.
import { z } from "zod";
import type { RemoteMachine } from "./remote-machine.ts";

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
  volumes: string[];
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
const volumesSchema = z.looseObject({ Volumes: z.array(z.looseObject({ Name: z.string() })).nullish() });
const imagesSchema = z.array(
  z.looseObject({ RepoTags: z.array(z.string()).nullish(), RepoDigests: z.array(z.string()).nullish() }),
);

const mark = "--8<--";
/** One round trip; fixed text, the data root is its argument. */
const script = `date -u +%s; echo '${mark}'; stat -f -c '%a %S' "$1"; echo '${mark}'; cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; echo '${mark}'; cat /proc/net/route; echo '${mark}'; cat /proc/net/udp /proc/net/udp6 2>/dev/null`;

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
  const [date = "", disk = "", tcp = "", route = "", udp = ""] = said.split(`${mark}\n`);
  const [blocks, blockBytes] = disk.trim().split(" ").map(Number);
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
    freeBytes: (blocks ?? 0) * (blockBytes ?? 0),
    volumes: (Volumes ?? []).map(({ Name }) => Name),
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
    routes: parseRoutes(route),
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

function dotted(littleEndian: string): string {
  const bytes = littleEndian.match(/../g) ?? [];
  return bytes
    .reverse()
    .map((byte) => Number.parseInt(byte, 16))
    .join(".");
}
