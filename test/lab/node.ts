// One node of the lab's swarm: a machine with systemd, sshd and a Docker engine of its own.
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, chown, copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { connect } from "node:net";
import { join, posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Dockerode from "dockerode";
import { SkepError } from "../../shared/errors.ts";
import { command, tryCommand, type CommandOptions, type CommandResult } from "./command.ts";
import { Machine, unmount } from "./machine.ts";
import { createLeg, cutLeg, healLeg, isCut, namespaceName, removeLeg } from "./network.ts";
import { cgroupOf, labFolder, type LabState, type MachineState } from "./state.ts";

export interface SshAccess {
  host: string;
  port: number;
  /** Root comes in by key only. */
  root: { user: "root"; privateKeyPath: string };
  /** Not root: comes in by password (or the same key), and sudo asks for the password. */
  operator: { user: "operator"; password: string; privateKeyPath: string };
  /** The node's own key, as in known_hosts: "ssh-ed25519 AAAA…". */
  hostKey: string;
}

const dataRoot = "/var/lib/docker";
export type DataRoot = "memory" | "btrfs" | "xfs";
/** Folders of a running machine that live in its memory only. */
const memoryFolders = ["/run", "/tmp", "/dev", "/proc", "/sys", "/var/run"];

export class LabNode {
  readonly name: string;
  readonly address: string;
  /** Number of the node in its lab, from 1; also the last number of its address. */
  readonly index: number;
  readonly #lab: LabState;
  readonly #machine: Machine;

  constructor(lab: LabState, state: MachineState, rootfs: string) {
    this.name = state.name;
    this.index = state.index;
    this.address = `${lab.subnet}.${state.index}`;
    this.#lab = lab;
    const folder = join(labFolder(lab.name), state.name);
    this.#machine = new Machine({
      hostname: state.name,
      folder,
      rootfs,
      namespace: namespaceName(lab.id, state.name),
      cgroup: cgroupOf(lab.id, state.name),
      binds: { [join(folder, "docker")]: dataRoot, [join(folder, "run")]: "/srv/lab" },
    });
  }

  /** The engine's socket, seen from the host (the same engine listens on /var/run/docker.sock inside). */
  get dockerSocketPath(): string {
    return join(this.#machine.spec.folder, "run", "docker.sock");
  }

  /** For nsenter, on the host. */
  get networkNamespace(): string {
    return join("/run/netns", namespaceName(this.#lab.id, this.name));
  }

  /** A client of the node's engine. */
  get docker(): Dockerode {
    return new Dockerode({ socketPath: this.dockerSocketPath });
  }

  get isRunning(): boolean {
    return this.#machine.isRunning();
  }

  /** How to come in over SSH, from the host or from another node. */
  async ssh(): Promise<SshAccess> {
    const privateKeyPath = sshKeyPath(this.#lab.name);
    const hostKey = await readFile(join(this.#machine.root, "etc/ssh/ssh_host_ed25519_key.pub"), "utf8");
    return {
      host: this.address,
      port: 22,
      root: { user: "root", privateKeyPath },
      operator: { user: "operator", password: await operatorPassword(this.#lab.name), privateKeyPath },
      hostKey: hostKey.split(" ").slice(0, 2).join(" "),
    };
  }

  /**
   * Makes the node as a machine fresh from its installation: no swarm, no image, no volume. It is off.
   * `dataRoot`: it is kept in the host's memory, at most 4 GiB, or on a disk of its own with that filesystem.
   */
  async create(options: { dataRoot?: DataRoot } = {}): Promise<void> {
    await createLeg(this.#lab.id, this.name, this.index, this.#lab.subnet);
    await this.#machine.create();
    if (options.dataRoot === "memory") {
      await command(["mount", "-t", "tmpfs", "-o", "size=4g,mode=710", "skep-lab", this.hostPath(dataRoot)]);
    } else if (options.dataRoot !== undefined) {
      const disk = join(this.#machine.spec.folder, "docker.disk");
      await command(["truncate", "--size=8G", disk]);
      await command([`mkfs.${options.dataRoot}`, "-q", disk]);
      await command(["mount", "-o", "loop", disk, this.hostPath(dataRoot)]);
    }
    const at = (path: string) => join(this.#machine.root, path);
    const { subnet } = this.#lab;
    await writeFile(at("etc/hostname"), `${this.name}\n`);
    await writeFile(at("etc/hosts"), `127.0.0.1 localhost\n${this.address} ${this.name}\n${subnet}.253 s3\n`);
    // No way out, by design: a name that isn't known fails at once.
    await rm(at("etc/resolv.conf"), { force: true });
    await writeFile(at("etc/resolv.conf"), "# this machine has no name server\n");
    await writeFile(at("etc/machine-id"), `${randomBytes(16).toString("hex")}\n`);
    await writeFile(at("etc/docker/daemon.json"), '{"storage-driver":"overlay2","shutdown-timeout":5}\n');
    await command([
      "ssh-keygen",
      "-q",
      "-t",
      "ed25519",
      "-N",
      "",
      "-C",
      this.name,
      "-f",
      at("etc/ssh/ssh_host_ed25519_key"),
    ]);
    const publicKey = `${sshKeyPath(this.#lab.name)}.pub`;
    await authorize(publicKey, at("root/.ssh"), 0, 0);
    // The first user and the group "users" of a Debian machine (rootfs.ts).
    await authorize(publicKey, at("home/operator/.ssh"), 1000, 100);
    const password = await operatorPassword(this.#lab.name);
    // In the machine's own root: chpasswd takes PAM's modules from there, of another release than the host's.
    await command(["chroot", this.#machine.root, "/usr/sbin/chpasswd"], { input: `operator:${password}\n` });
  }

  /** Switches it on and waits, at most 60 s, until Docker and sshd answer. */
  async start(): Promise<void> {
    await rm(this.dockerSocketPath, { force: true });
    await this.#machine.start();
    const deadlineMs = Date.now() + 60_000;
    // Not over the network: the node may be cut off.
    while (!(await this.#answers())) {
      if (Date.now() > deadlineMs || !this.isRunning) {
        const console = await this.#machine.consoleTail();
        const message = `node ${this.name}: Docker or sshd does not answer\n${console}`;
        throw new SkepError({ code: "SKEP_LAB_BOOT", message, permanent: false });
      }
      await sleep(50);
    }
  }

  async #answers(): Promise<boolean> {
    if (!existsSync(this.dockerSocketPath) || !(await pingDocker(this.dockerSocketPath))) return false;
    return (await isCut(this.#lab.id, this.index)) || (await acceptsTcp(this.address, 22));
  }

  /** Clean power-off. */
  async stop(): Promise<void> {
    await this.#machine.stop();
  }

  /** Power loss. Its disks stay as they were. */
  async crash(): Promise<void> {
    await this.#machine.crash();
  }

  /** Cuts it off from the network: what it sends, and what is sent to it, is lost. It goes on running. */
  async cut(): Promise<void> {
    await cutLeg(this.#lab.id, this.index);
  }

  async heal(): Promise<void> {
    await healLeg(this.#lab.id, this.index);
  }

  async isCut(): Promise<boolean> {
    return await isCut(this.#lab.id, this.index);
  }

  /** Power loss, and its disks are gone. lab.burn() calls it and strikes the node off the lab's list. */
  async remove(): Promise<void> {
    await this.#machine.crash();
    await unmount(this.hostPath(dataRoot));
    await this.#machine.remove();
    await removeLeg(this.#lab.id, this.name, this.index);
  }

  /**
   * Runs `argv` inside, as root, whether or not the network is there; tells how it ended, whatever its exit status.
   * Throws SKEP_LAB_NODE_OFF when the node is off.
   */
  async exec(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    const env = {
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: "/root",
      LANG: "C.UTF-8",
    };
    return await tryCommand(this.#machine.enter(argv), { ...options, env: { ...env, ...options.env } });
  }

  /** As exec, but returns stdout, and throws SKEP_LAB_COMMAND unless it ends with 0. */
  async run(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
    const result = await this.exec(argv, options);
    if (result.code !== 0) {
      const message = `${this.name}: ${argv.join(" ")}: exit status ${result.code}\n${result.stderr.trimEnd()}`;
      throw new SkepError({ code: "SKEP_LAB_COMMAND", message, permanent: false });
    }
    return result.stdout;
  }

  /**
   * Where the node's file `path` (absolute) is on the host: for what is on its disks also while it is off. Symbolic links
   * inside the node that are absolute point elsewhere when they are followed from outside.
   */
  hostPath(path: string): string {
    const wanted = posix.resolve("/", path);
    if (isBelow(wanted, dataRoot)) return join(this.#machine.spec.folder, "docker", wanted.slice(dataRoot.length));
    if (!memoryFolders.some((folder) => isBelow(wanted, folder))) return join(this.#machine.root, wanted);
    const pid = this.#machine.initPid();
    if (pid === null) {
      const message = `node ${this.name} is off, and ${wanted} was in its memory`;
      throw new SkepError({ code: "SKEP_LAB_NODE_OFF", message, permanent: false });
    }
    return join(`/proc/${String(pid)}/root`, wanted);
  }

  /** The last lines of its console, for messages. */
  async consoleTail(): Promise<string> {
    return await this.#machine.consoleTail();
  }
}

export function sshKeyPath(lab: string): string {
  return join(labFolder(lab), "id_ed25519");
}

/** The password of the user `operator` on each node of the lab. */
export async function operatorPassword(lab: string): Promise<string> {
  return (await readFile(join(labFolder(lab), "operator-password"), "utf8")).trim();
}

/** The key and the password by which people come into the lab's nodes. */
export async function createAccess(lab: string): Promise<void> {
  await command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", `skep-lab ${lab}`, "-f", sshKeyPath(lab)]);
  const password = randomBytes(12).toString("base64url");
  await writeFile(join(labFolder(lab), "operator-password"), `${password}\n`, { mode: 0o600 });
}

async function authorize(publicKey: string, folder: string, uid: number, gid: number): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, "authorized_keys");
  await copyFile(publicKey, file);
  await chmod(file, 0o600);
  await chown(folder, uid, gid);
  await chown(file, uid, gid);
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

/** Whether the engine behind the socket answers. */
export async function pingDocker(socketPath: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const asked = request({ socketPath, path: "/_ping", timeout: 5_000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer")));
    asked.on("error", () => {
      resolve(false);
    });
    asked.end();
  });
}

async function acceptsTcp(host: string, port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 2_000 });
    const done = (accepted: boolean) => {
      socket.destroy();
      resolve(accepted);
    };
    socket.on("connect", () => {
      done(true);
    });
    socket.on("error", () => {
      done(false);
    });
    socket.on("timeout", () => {
      done(false);
    });
  });
}
