// A lab's network: one bridge with a /24 of its own, and a network namespace with one leg on it for each machine.
// All names come from the lab's id, so that what belongs to a lab can be found, and taken away, without any list.
import { z } from "zod";
import { command, tryCommand } from "./command.ts";
import { SkepError } from "../../shared/errors.ts";

/** Host part of the bridge's own address, by which the machines reach the host. */
const hostPart = 254;

export function bridgeName(id: string): string {
  return `sk${id}`;
}

/** The host's end of machine number `index`'s leg; at most 15 characters (IFNAMSIZ) up to index 999. */
export function legName(id: string, index: number): string {
  return `sk${id}n${index}`;
}

export function namespaceName(id: string, machine: string): string {
  return `skep-${id}-${machine}`;
}

export function hostAddress(subnet: string): string {
  return `${subnet}.${hostPart}`;
}

const addressSchema = z.array(
  z.object({ addr_info: z.array(z.object({ local: z.string().optional(), prefixlen: z.int().optional() })) }),
);
const routesSchema = z.array(z.object({ dst: z.string() }));

/**
 * The first three numbers of a free /24 in 198.18.0.0/15, which RFC 2544 keeps for tests on one's own bench: no real
 * network is there, and no pool of Docker's. `taken` are those of other labs; addresses and routes of the machine are
 * looked at as well. Call it with the labs' lock held.
 */
export async function freeSubnet(taken: readonly string[]): Promise<string> {
  const routes = routesSchema.parse(JSON.parse(await command(["ip", "-json", "-4", "route", "show", "table", "all"])));
  const links = addressSchema.parse(JSON.parse(await command(["ip", "-json", "-4", "address"])));
  const ranges = [
    ...routes.map((route) => route.dst).filter((dst) => dst !== "default"),
    ...links.flatMap((l) => l.addr_info.map((a) => `${a.local ?? "0.0.0.0"}/${a.prefixlen ?? 32}`)),
  ];
  return chooseSubnet(taken, ranges);
}

/** The rule of freeSubnet, on ranges such as "10.0.0.0/8" or "192.0.2.1". Throws SKEP_LAB_NO_SUBNET when none is left. */
export function chooseSubnet(taken: readonly string[], ranges: readonly string[]): string {
  const used = ranges.map(parseRange);
  for (let n = 0; n < 512; n++) {
    const subnet = `198.${18 + (n >> 8)}.${n & 255}`;
    const [start, end] = parseRange(`${subnet}.0/24`);
    if (taken.includes(subnet) || used.some(([from, to]) => from <= end && start <= to)) continue;
    return subnet;
  }
  throw new SkepError({
    code: "SKEP_LAB_NO_SUBNET",
    message: "no free /24 is left in 198.18.0.0/15",
    permanent: true,
    hint: "npm run lab -- down --all",
  });
}

function parseRange(range: string): [number, number] {
  const [address = "", length = "32"] = range.split("/");
  const value = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - Number(length));
  const start = Math.floor(value / size) * size;
  return [start, start + size - 1];
}

export async function createBridge(id: string, subnet: string): Promise<void> {
  const bridge = bridgeName(id);
  await command(["ip", "link", "add", bridge, "type", "bridge"]);
  await command(["ip", "address", "add", `${hostAddress(subnet)}/24`, "dev", bridge]);
  await command(["ip", "link", "set", bridge, "up"]);
  for (const rule of firewallRules(bridge)) await command(["iptables", "-w", "10", "-I", ...rule]);
}

/** A Docker engine, or a firewall, on the host may drop by default what is bridged; only this bridge is let through. */
function firewallRules(bridge: string): string[][] {
  const rule = ["-m", "comment", "--comment", "skep-lab", "-j", "ACCEPT"];
  return [
    ["FORWARD", "-i", bridge, "-o", bridge, ...rule],
    ["INPUT", "-i", bridge, ...rule],
  ];
}

export async function removeBridge(id: string): Promise<void> {
  const bridge = bridgeName(id);
  for (const rule of firewallRules(bridge)) {
    // A rule may be there more than once, or (after a crash half-way) not at all.
    while ((await tryCommand(["iptables", "-w", "10", "-C", ...rule])).code === 0) {
      await command(["iptables", "-w", "10", "-D", ...rule]);
    }
  }
  if (await linkExists(bridge)) await command(["ip", "link", "delete", bridge]);
}

/** The namespace of machine `machine`, with `eth0` at `subnet`.`index`, connected to the bridge. */
export async function createLeg(id: string, machine: string, index: number, subnet: string): Promise<void> {
  const namespace = namespaceName(id, machine);
  const leg = legName(id, index);
  await command(["ip", "netns", "add", namespace]);
  const peer = ["name", "eth0", "address", hardwareAddress(id, index), "netns", namespace];
  await command(["ip", "link", "add", leg, "type", "veth", "peer", ...peer]);
  await command(["ip", "-n", namespace, "address", "add", `${subnet}.${index}/24`, "dev", "eth0"]);
  await command(["ip", "-n", namespace, "link", "set", "lo", "up"]);
  await command(["ip", "-n", namespace, "link", "set", "eth0", "up"]);
  await command(["ip", "link", "set", leg, "master", bridgeName(id), "up"]);
}

/** The same for each machine that comes to have this address: others would send to the burned one's for up to 30 s. */
function hardwareAddress(id: string, index: number): string {
  const bytes = [...(id.match(/../g) ?? []), index.toString(16).padStart(2, "0")];
  return ["02", ...bytes].join(":");
}

export async function removeLeg(id: string, machine: string, index: number): Promise<void> {
  if (await linkExists(legName(id, index))) await command(["ip", "link", "delete", legName(id, index)]);
  const namespace = namespaceName(id, machine);
  const names = (await command(["ip", "netns", "list"])).split("\n").map((line) => line.split(" ")[0]);
  if (names.includes(namespace)) await command(["ip", "netns", "delete", namespace]);
}

/** As when the cable is cut behind the switch: what the machine sends is lost without an answer. */
export async function cutLeg(id: string, index: number): Promise<void> {
  await command(["ip", "link", "set", legName(id, index), "nomaster"]);
}

export async function healLeg(id: string, index: number): Promise<void> {
  await command(["ip", "link", "set", legName(id, index), "master", bridgeName(id)]);
}

const linkSchema = z.array(z.object({ master: z.string().optional() }));

export async function isCut(id: string, index: number): Promise<boolean> {
  const text = await command(["ip", "-json", "link", "show", "dev", legName(id, index)]);
  return linkSchema.parse(JSON.parse(text))[0]?.master === undefined;
}

async function linkExists(name: string): Promise<boolean> {
  return (await tryCommand(["ip", "link", "show", "dev", name])).code === 0;
}
