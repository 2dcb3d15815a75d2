// From the inventory to what the SSH door takes: files read, defaults filled in, host keys looked up. Paths in the
// inventory are relative to it. A password that no file holds is asked for on a terminal.
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, resolve } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import type { Inventory, InventoryMachine, SshSettings } from "./inventory.ts";
import { knownHostsFor, type KnownHosts } from "./known-hosts.ts";

/** How to come into a machine; Holds secrets: never logged. */
export interface SshAccess {
  /** For messages: the inventory's name of it. */
  name: string;
  address: string;
  port: number;
  user: string;
  /** OpenSSH private key, PEM. */
  privateKey: string | null;
  /** Path of the agent's socket. */
  agent: string | null;
  password: string | null;
  known: KnownHosts;
  sudo: boolean;
  sudoPassword: string | null;
  jump: SshAccess | null;
}

const defaultPort = 22;
const defaultUser = "root";

export interface AccessTools {
  /** Folder of the inventory file. */
  folder: string;
  /** Asks a person for sudo's password; null where nobody can be asked. */
  askPassword: ((question: string) => Promise<string>) | null;
}

export function inventoryFolder(inventoryPath: string): string {
  return dirname(resolve(inventoryPath));
}

/** One of each machine, by its name. Throws SKEP_INVENTORY_FILE. */
export async function sshAccesses(inventory: Inventory, tools: AccessTools): Promise<Map<string, SshAccess>> {
  const files = new Files(tools.folder);
  const accesses = new Map<string, SshAccess>();
  let asked: string | null = null;
  for (const [name, machine] of Object.entries(inventory.machines)) {
    const access = await accessOf(name, machine, inventory.ssh, files);
    if (access.sudo && access.sudoPassword === null && tools.askPassword !== null) {
      asked ??= await tools.askPassword("Password for sudo on the machines (empty: none is needed)");
      accesses.set(name, { ...access, sudoPassword: asked === "" ? null : asked });
    } else accesses.set(name, access);
  }
  return accesses;
}

async function accessOf(
  name: string,
  machine: InventoryMachine,
  common: SshSettings,
  files: Files,
): Promise<SshAccess> {
  const settings = { ...common, ...definedOnly(machine) };
  const { jump } = settings;
  return {
    ...(await login(name, { ...settings, address: machine.address }, files)),
    // A jump host is come into as its own fields say, else as the whole inventory.
    jump:
      jump === undefined
        ? null
        : { ...(await login(`${name}'s jump host`, { ...common, ...definedOnly(jump) }, files)), jump: null },
  };
}

/** Of the registries that the inventory names, by host. Throws SKEP_INVENTORY_FILE. */
export async function registryLogins(
  { registries }: Inventory,
  folder: string,
): Promise<Map<string, { user: string; password: string }>> {
  const files = new Files(folder);
  const logins = new Map<string, { user: string; password: string }>();
  for (const [host, { user, passwordFile }] of Object.entries(registries)) {
    logins.set(host, { user, password: (await files.password(passwordFile, `the password for ${host}`)) ?? "" });
  }
  return logins;
}

type LoginSettings = Omit<SshSettings, "jump"> & { address?: string; hostKey?: string | undefined };

async function login(name: string, settings: LoginSettings, files: Files): Promise<Omit<SshAccess, "jump">> {
  const { address = "", port = defaultPort, user = defaultUser } = settings;
  return {
    name,
    address,
    port,
    user,
    privateKey: settings.key === undefined ? null : await files.text(settings.key, `the private key of ${name}`),
    agent: settings.agent === true ? agentSocket(name) : null,
    password: await files.password(settings.passwordFile, `the login password of ${name}`),
    known: await knownHosts(settings, address, port, files),
    sudo: settings.sudo ?? false,
    sudoPassword: await files.password(settings.sudoPasswordFile, `the sudo password of ${name}`),
  };
}

async function knownHosts(settings: LoginSettings, address: string, port: number, files: Files): Promise<KnownHosts> {
  if (settings.hostKey !== undefined) {
    const [type = "", key = ""] = settings.hostKey.split(" ");
    return { keys: new Set([key]), revoked: new Set(), types: [type] };
  }
  const text =
    settings.knownHosts === undefined
      ? await files.textOrNone(resolve(homedir(), ".ssh/known_hosts"))
      : await files.text(settings.knownHosts, "the known_hosts file");
  return knownHostsFor(text, address, port);
}

function agentSocket(name: string): string {
  const socket = process.env["SSH_AUTH_SOCK"];
  if (socket !== undefined && socket !== "") return socket;
  throw new SkepError({
    code: "SKEP_INVENTORY_FILE",
    message: `${name} is to be reached through ssh-agent, and SSH_AUTH_SOCK is not set`,
    permanent: true,
    hint: 'eval "$(ssh-agent)"; ssh-add',
  });
}

class Files {
  readonly #folder: string;
  readonly #texts = new Map<string, Promise<string>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  async text(path: string, what: string): Promise<string> {
    const absolute = resolve(this.#folder, path.replace(/^~(?=\/)/, homedir()));
    const known = this.#texts.get(absolute) ?? readFile(absolute, "utf8");
    this.#texts.set(absolute, known);
    try {
      return await known;
    } catch (error) {
      throw new SkepError({
        code: "SKEP_INVENTORY_FILE",
        message: `${what}, ${absolute}, cannot be read: ${error instanceof Error ? error.message : String(error)}`,
        permanent: true,
        hint: "paths in the inventory are relative to its folder",
        cause: error,
      });
    }
  }

  async textOrNone(path: string): Promise<string> {
    try {
      return await readFile(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
      throw error;
    }
  }

  async password(path: string | undefined, what: string): Promise<string | null> {
    return path === undefined ? null : (await this.text(path, what)).replace(/\r?\n$/, "");
  }
}

function definedOnly<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as T;
}
