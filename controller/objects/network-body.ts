// A network as the Engine API creates it and shows it. Subnets that the swarm chose are named too, so that containers and
// firewalls find the addresses that they know.
import { isIP } from "node:net";
import { z } from "zod";
import { network as networkJson } from "../../shared/raft/engine-api/network.ts";
import { driver, type Json } from "../../shared/raft/engine-api/values.ts";
import type { Message } from "../../shared/raft/swarmkit/message-types.ts";

const textMap = z.record(z.string(), z.string()).nullish();

const poolSchema = z.object({
  Subnet: z.string().optional(),
  IPRange: z.string().optional(),
  Gateway: z.string().optional(),
});
export type AddressPool = z.infer<typeof poolSchema>;

/** What of GET /networks a create call can say. */
export const networkBodySchema = z.object({
  Name: z.string(),
  Driver: z.string(),
  Labels: textMap.transform((labels) => labels ?? {}),
  Internal: z.boolean().default(false),
  Attachable: z.boolean().default(false),
  Ingress: z.boolean().default(false),
  EnableIPv6: z.boolean().default(false),
  Options: textMap.transform((options) => ownOptions(options ?? {})),
  IPAM: z.object({
    Driver: z.string().default("default"),
    Options: textMap.transform((options) => options ?? {}),
    Config: z
      .array(poolSchema)
      .nullish()
      .transform((pools) => pools ?? []),
  }),
  ConfigFrom: z.object({ Network: z.string() }).optional(),
});
export type NetworkBody = z.infer<typeof networkBodySchema>;

/** The swarm numbers its VXLANs itself. */
function ownOptions(options: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(options).filter(([key]) => key !== vxlanNumbers));
}
const vxlanNumbers = "com.docker.network.driver.overlay.vxlanid_list";

export function networkBody(network: Message<"Network">): NetworkBody {
  const { Driver, ...shown } = networkJson(network);
  const asked = driver(network.spec?.driverConfig)?.["Name"];
  return networkBodySchema.parse({ ...shown, Driver: Driver === "" ? (asked ?? "overlay") : Driver });
}

/** As the API shows it, with the subnets in one order. */
export function networkBodyOf(shown: Json): NetworkBody {
  return networkBodySchema.parse(shown);
}

/** `wanted`, where it leaves subnets or a gateway to the swarm, with what the swarm chose for `there`. */
export function withChosenAddresses(wanted: NetworkBody, there: NetworkBody): NetworkBody {
  if (wanted.IPAM.Config.length === 0) return { ...wanted, IPAM: there.IPAM };
  const Config = wanted.IPAM.Config.map((pool) => {
    const gateway = there.IPAM.Config.find(({ Subnet }) => Subnet === pool.Subnet)?.Gateway;
    return pool.Gateway !== undefined || gateway === undefined ? pool : { ...pool, Gateway: gateway };
  });
  return { ...wanted, IPAM: { ...wanted.IPAM, Config } };
}

/** What POST /networks/create takes. */
export function createBody(body: NetworkBody): Json {
  const { ConfigFrom, ...rest } = body;
  const from = ConfigFrom === undefined || ConfigFrom.Network === "" ? {} : { ConfigFrom };
  return { ...rest, ...from, Scope: "swarm", CheckDuplicate: true };
}

/** Do two subnets have an address in common? False where one is no subnet. */
export function overlap(a: string, b: string): boolean {
  const [one, other] = [parseSubnet(a), parseSubnet(b)];
  if (one === null || other === null || one.bits !== other.bits) return false;
  const shift = BigInt(one.bits - Math.min(one.prefix, other.prefix));
  return one.address >> shift === other.address >> shift;
}

interface Subnet {
  address: bigint;
  prefix: number;
  /** 32 or 128. */
  bits: number;
}

function parseSubnet(text: string): Subnet | null {
  const [, address = "", prefix = ""] = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(text) ?? [];
  const version = isIP(address);
  const bits = version === 4 ? 32 : 128;
  if (version === 0 || Number(prefix) > bits) return null;
  return { address: version === 4 ? fourBytes(address) : eightWords(address), prefix: Number(prefix), bits };
}

export function isSubnet(text: string): boolean {
  return parseSubnet(text) !== null;
}

function fourBytes(address: string): bigint {
  return address.split(".").reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function eightWords(address: string): bigint {
  // With its last 32 bits in dots it is written out by URL's parser.
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = "", tail] = plain.split("::");
  const words = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const missing = tail === undefined ? 0 : 8 - words(head).length - words(tail).length;
  const all = [...words(head), ...Array.from({ length: missing }, () => "0"), ...words(tail ?? "")];
  return all.reduce((sum, word) => (sum << 16n) | BigInt(`0x${word}`), 0n);
}
