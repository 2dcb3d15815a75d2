// The inventory: which machines there are now, and what became of each node that the run knows. YAML, written first by
// `skep recover inventory`, completed by a person. Secrets are named by file. All faults are told at once.
import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { listFaults } from "../../shared/fault-list.ts";
import { isNestedTooDeep, parseYaml } from "../../shared/yaml-text.ts";

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, "a name of letters, digits, dots and dashes");
const filePath = z.string().min(1).max(4096);
const ipAddress = z.string().refine((text) => isIP(text) !== 0, "an IP address");
/** A host's name or IP address. */
const hostAddress = z.string().regex(/^[A-Za-z0-9:.[\]_-]{1,255}$/, "a host's name or IP address");

/** How to come in; each machine may say otherwise than the whole. Paths are relative to the inventory file. */
const sshFields = {
  user: z
    .string()
    .regex(/^[a-z_][a-z0-9_.-]{0,31}$/)
    .optional(),
  port: z.int().min(1).max(65535).optional(),
  /** Private key, OpenSSH's format, without a passphrase. */
  key: filePath.optional(),
  /** Use the ssh-agent of SSH_AUTH_SOCK. */
  agent: z.boolean().optional(),
  /** File with the user's login password. */
  passwordFile: filePath.optional(),
  /** The user is not root, and becomes root by sudo. */
  sudo: z.boolean().optional(),
  /** File with the password that sudo asks for. */
  sudoPasswordFile: filePath.optional(),
  /** OpenSSH's known_hosts; default ~/.ssh/known_hosts. */
  knownHosts: filePath.optional(),
};
const hostKey = z.string().regex(/^[a-z0-9@.-]+ [A-Za-z0-9+/]+=*$/, "a host key: TYPE BASE64, as in known_hosts");

const registryHost = z
  .string()
  .regex(/^[A-Za-z0-9.-]{1,255}(:\d{1,5})?$/, "a registry's host, with its port where it has one");

const jumpSchema = z.strictObject({ address: hostAddress, hostKey: hostKey.optional(), ...sshFields });
const sshSchema = z.strictObject({ ...sshFields, jump: jumpSchema.optional() });
export type SshSettings = z.infer<typeof sshSchema>;

const machineSchema = z.strictObject({
  /** Where SSH is reached. */
  address: hostAddress,
  role: z.enum(["manager", "worker"]),
  /** IP address by which other nodes reach it; default `address`. */
  advertise: ipAddress.optional(),
  dataPath: ipAddress.optional(),
  hostKey: hostKey.optional(),
  /** The engine's socket; default /var/run/docker.sock. */
  dockerSocket: z.string().startsWith("/").max(107).optional(),
  jump: jumpSchema.optional(),
  ...sshFields,
});
export type InventoryMachine = z.infer<typeof machineSchema>;

export const nodeGone = "gone";
export const nodeSurvives = "survives";

const inventorySchema = z.strictObject({
  version: z.literal(1),
  ssh: sshSchema.prefault({}),
  /** Credentials for registries, by host; Docker's own is docker.io. They count before those that the swarm kept. */
  registries: z
    .record(registryHost, z.strictObject({ user: z.string().min(1).max(255), passwordFile: filePath }))
    .prefault({}),
  /** By a name of your choice. The first manager is made first. */
  machines: z.record(name, machineSchema),
  /** By the hostname of the run, or the node's id: the machine that takes its place, `survives` or `gone`. */
  nodes: z.record(z.string().min(1).max(255), name),
});
export type Inventory = z.infer<typeof inventorySchema>;

export interface ReadInventory {
  inventory: Inventory;
  /** SHA-256 of the text, hex: what a journal is tied to. */
  digest: string;
}

/** `place` names the text for the message. Throws SKEP_INVENTORY_INVALID with every fault. */
export function decodeInventory(text: string, place: string): ReadInventory {
  const invalid = (faults: readonly string[]): SkepError =>
    new SkepError({
      code: "SKEP_INVENTORY_INVALID",
      message: `the inventory ${place} is not valid:\n${listFaults(faults)}`,
      permanent: true,
      hint: "correct these lines; docs/RUNBOOK.md tells every field, `skep recover inventory` writes a first one",
    });
  if (isNestedTooDeep(text)) throw invalid(["it is nested too deep"]);
  let json: unknown;
  try {
    json = parseYaml(text);
  } catch (error) {
    // Besides its own errors the parser throws a ReferenceError for an alias.
    throw invalid([error instanceof Error ? error.message : String(error)]);
  }
  const parsed = inventorySchema.safeParse(json);
  if (!parsed.success) throw invalid(parsed.error.issues.flatMap(faultsOf));
  const faults = contradictions(parsed.data);
  if (faults.length > 0) throw invalid(faults);
  return { inventory: parsed.data, digest: createHash("sha256").update(text).digest("hex") };
}

function faultsOf(issue: z.core.$ZodIssue): string[] {
  const at = issue.path.map(String).join(".") || "the top";
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => `${at}: there is no field ${key}`);
  return [`${at}: ${issue.message}`];
}

function contradictions({ machines, nodes }: Inventory): string[] {
  const faults: string[] = [];
  const entries = Object.entries(machines);
  if (!entries.some(([, { role }]) => role === "manager")) faults.push("machines: none has role manager");
  for (const [machine, { address, advertise }] of entries) {
    if (machine === nodeGone || machine === nodeSurvives) faults.push(`machines.${machine}: this word has a meaning`);
    if (advertise === undefined && isIP(address) === 0) {
      faults.push(`machines.${machine}: address is a name, so advertise must say the IP address that other nodes use`);
    }
    const twin = entries.find(([other, { address: taken }]) => other < machine && taken === address);
    if (twin !== undefined) faults.push(`machines.${machine}: has the address of ${twin[0]}`);
  }
  for (const [node, machine] of Object.entries(nodes)) {
    if (machine === nodeGone || machine === nodeSurvives || machines[machine] !== undefined) continue;
    faults.push(`nodes.${node}: there is no machine ${machine}`);
  }
  return faults;
}

/** The IP address by which other nodes reach it. */
export function advertisedAddress(machine: InventoryMachine): string {
  return machine.advertise ?? machine.address;
}
