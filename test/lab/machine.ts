// One machine: a systemd-nspawn container with its own network namespace and cgroup, over a root that is an overlay on
// a shared, read-only root file system. It either boots systemd or runs one program. What it wrote stays for its next start.
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../shared/errors.ts";
import { createCgroup, inCgroup, isUnified, killCgroup, removeCgroup } from "./cgroup.ts";
import { command, tryCommand } from "./command.ts";
import { readLivingOwner, readProc, writeOwner } from "./owner.ts";

export interface MachineSpec {
  hostname: string;
  /** Folder of all that belongs to the machine; made and removed with it. */
  folder: string;
  /** Folder of the root file system below; never written to. */
  rootfs: string;
  /** Name of a network namespace that exists. */
  namespace: string;
  cgroup: string;
  /** Folder outside → path inside. */
  binds: Readonly<Record<string, string>>;
  /** What runs instead of a booted systemd, as process 1; SIGTERM asks it to end. */
  program?: readonly string[];
}

/** SIGRTMIN+4 asks systemd for a power-off (systemd(1), Signals); Linux with glibc has SIGRTMIN at 34. */
const powerOffSignal = 34 + 4;

export class Machine {
  readonly spec: MachineSpec;

  constructor(spec: MachineSpec) {
    this.spec = spec;
  }

  /** The root as seen from outside, also while the machine is off. */
  get root(): string {
    return join(this.spec.folder, "root");
  }

  /** Makes its folder and mounts its root. */
  async create(): Promise<void> {
    const { folder, rootfs, binds } = this.spec;
    for (const part of ["upper", "work", "root"]) await mkdir(join(folder, part), { recursive: true });
    for (const outside of Object.keys(binds)) await mkdir(outside, { recursive: true });
    const layers = `lowerdir=${rootfs},upperdir=${join(folder, "upper")},workdir=${join(folder, "work")}`;
    await command(["mount", "-t", "overlay", "-o", layers, "skep-lab", this.root]);
  }

  /** Starts it and returns once its first process runs. */
  async start(): Promise<void> {
    if (this.isRunning()) return;
    const { hostname, folder, namespace, cgroup, binds, program } = this.spec;
    await removeCgroup(cgroup);
    await createCgroup(cgroup);
    const argv = inCgroup(cgroup, [
      ...["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", `--directory=${this.root}`],
      ...[
        `--machine=${namespace}`,
        `--hostname=${hostname}`,
        `--network-namespace-path=/run/netns/${namespace}`,
        "--capability=all",
      ],
      "--system-call-filter=@keyring @privileged @mount bpf perf_event_open",
      ...["--console=pipe", "--link-journal=no", "--resolv-conf=off", "--timezone=off"],
      ...Object.entries(binds).map(([outside, inside]) => `--bind=${outside}:${inside}`),
      ...(program ?? ["--boot", ...bootArguments()]),
    ]);
    const log = openSync(join(folder, "console.log"), "a", 0o600);
    try {
      const child = spawn(argv[0] ?? "", argv.slice(1), {
        detached: true,
        stdio: ["ignore", log, log],
        env: { PATH: process.env["PATH"], SYSTEMD_NSPAWN_API_VFS_WRITABLE: "yes", SYSTEMD_NSPAWN_LOCK: "0" },
      });
      const failed = new Promise<never>((_, reject) => child.once("error", reject));
      child.unref();
      await Promise.race([failed, this.#recordProcess(child.pid)]);
    } finally {
      closeSync(log);
    }
  }

  async #recordProcess(pid: number | undefined): Promise<void> {
    if (pid !== undefined) await writeOwner(this.#processFile, pid);
    const deadlineMs = Date.now() + 20_000;
    while (this.initPid() === null) {
      if (!this.isRunning() || Date.now() > deadlineMs) {
        throw new SkepError({
          code: "SKEP_LAB_BOOT",
          message: `machine ${this.spec.hostname} did not start\n${await this.consoleTail()}`,
          permanent: false,
        });
      }
      await sleep(10);
    }
  }

  get #processFile(): string {
    return join(this.spec.folder, "process.json");
  }

  isRunning(): boolean {
    return readLivingOwner(this.#processFile) !== null;
  }

  /** Pid, outside, of the machine's process 1; null while it is off. */
  initPid(): number | null {
    const container = readLivingOwner(this.#processFile);
    if (container === null) return null;
    for (const pid of childrenOf(container.pid)) {
      // In a pid namespace of its own, and the first there: "NSpid: 4711 1".
      if (/^NSpid:\t\d+\t1$/m.test(readProc(`/proc/${String(pid)}/status`))) return pid;
    }
    return null;
  }

  /** Runs `argv` inside; its end of life is awaited. Throws SKEP_LAB_NODE_OFF while the machine is off. */
  enter(argv: readonly string[]): string[] {
    const pid = this.initPid();
    if (pid === null) {
      const message = `machine ${this.spec.hostname} is off`;
      throw new SkepError({ code: "SKEP_LAB_NODE_OFF", message, permanent: false });
    }
    return [
      "nsenter",
      `--target=${String(pid)}`,
      "--mount",
      "--uts",
      "--ipc",
      "--net",
      "--pid",
      "--root",
      "--wd",
      ...argv,
    ];
  }

  /** Power-off as on a real machine; at most 60 s, then SKEP_LAB_STOP. */
  async stop(): Promise<void> {
    const init = this.initPid();
    if (init === null) return;
    process.kill(init, this.spec.program === undefined ? powerOffSignal : "SIGTERM");
    const deadlineMs = Date.now() + 60_000;
    while (this.isRunning()) {
      if (Date.now() > deadlineMs) {
        const message = `machine ${this.spec.hostname} did not power off in 60 s\n${await this.consoleTail()}`;
        throw new SkepError({ code: "SKEP_LAB_STOP", message, permanent: false });
      }
      await sleep(20);
    }
  }

  /** Power loss: everything in it is gone at once. */
  async crash(): Promise<void> {
    // Process 1 first: the kernel then takes all of its pid namespace with it.
    const init = this.initPid();
    if (init !== null) process.kill(init, "SIGKILL");
    await killCgroup(this.spec.cgroup);
  }

  /** Power loss, and nothing is left of it. Also for what is left of a machine that was never whole. */
  async remove(): Promise<void> {
    await this.crash();
    await removeCgroup(this.spec.cgroup);
    await unmount(this.root);
    // systemd-nspawn makes these and leaves them.
    for (const kind of ["propagate", "unix-export"]) {
      await rm(join("/run/systemd/nspawn", kind, this.spec.namespace), { recursive: true, force: true });
    }
    await rm(this.spec.folder, { recursive: true, force: true });
  }

  /** The last 40 lines that it wrote to its console. */
  async consoleTail(): Promise<string> {
    const text = await readFile(join(this.spec.folder, "console.log"), "utf8");
    return text.trimEnd().split("\n").slice(-40).join("\n");
  }
}

/** systemd of trixie (257) refuses cgroup v1 unless it is told twice. */
function bootArguments(): string[] {
  return isUnified() ? [] : ["systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"];
}

function childrenOf(pid: number): number[] {
  const text = readProc(`/proc/${String(pid)}/task/${String(pid)}/children`);
  return text
    .split(" ")
    .filter((part) => part !== "")
    .map(Number);
}

/** Unmounts `path` when something is mounted there. */
export async function unmount(path: string): Promise<void> {
  const mounted = () =>
    readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .some((line) => line.split(" ")[1] === path);
  for (let attempt = 0; mounted(); attempt++) {
    const result = await tryCommand(["umount", path]);
    if (result.code === 0) continue;
    if (attempt >= 100) {
      throw new SkepError({ code: "SKEP_LAB_UNMOUNT", message: result.stderr.trim(), permanent: false });
    }
    await sleep(50);
  }
}
