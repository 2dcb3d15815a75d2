// A real redis-server (Debian's), with an append-only file and a password: beside a lab's nodes, or alone for tests of
// what talks to Redis. One that stands alone ends with the process that started it, however that ends.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../shared/errors.ts";
import { createCgroup, inCgroup, removeCgroup } from "./cgroup.ts";
import { readLivingOwner, writeOwner } from "./owner.ts";
import { hostAddress } from "./network.ts";
import { cgroupOf, labFolder, labsFolder, type LabState } from "./state.ts";

export interface RedisAddress {
  host: string;
  port: number;
  password: string;
}

/** The binary of Debian's redis-tools; it is the server when it is called redis-server. */
const binary = "/usr/bin/redis-check-rdb";

export class RedisServer {
  readonly #folder: string;
  readonly #host: string;
  readonly #port: number;
  /** Null for one that stands alone. */
  readonly #cgroup: string | null;

  private constructor(folder: string, host: string, port: number, cgroup: string | null) {
    this.#folder = folder;
    this.#host = host;
    this.#port = port;
    this.#cgroup = cgroup;
  }

  /** A new, empty server on 127.0.0.1, started. remove() it in the end. */
  static async alone(): Promise<RedisServer> {
    await sweepAlone();
    const folder = await mkdtemp(join(labsFolder(), "redis."));
    await writeOwner(join(folder, "owner.json"), process.pid);
    const server = new RedisServer(folder, "127.0.0.1", await freePort(), null);
    await server.create();
    return server;
  }

  /** The server of a lab, on the bridge's address. */
  static of(lab: LabState): RedisServer {
    const folder = join(labFolder(lab.name), "redis");
    return new RedisServer(folder, hostAddress(lab.subnet), 6379, cgroupOf(lab.id, "redis"));
  }

  async create(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await symlink(binary, this.#at("redis-server"));
    const password = randomBytes(18).toString("base64url");
    await writeFile(this.#at("password"), password, { mode: 0o600 });
    const settings = [
      ...[`bind ${this.#host}`, `port ${this.#port}`, `unixsocket ${this.socketPath}`, `requirepass ${password}`],
      ...[`dir ${this.#folder}`, "appendonly yes", "appendfsync everysec", 'save ""', "maxmemory-policy noeviction"],
      ...["daemonize no", `logfile ${this.#at("redis.log")}`],
    ];
    await writeFile(this.#at("redis.conf"), settings.join("\n") + "\n", { mode: 0o600 });
    await this.start();
  }

  /** How to reach it over TCP. */
  async address(): Promise<RedisAddress> {
    return { host: this.#host, port: this.#port, password: await readFile(this.#at("password"), "utf8") };
  }

  get socketPath(): string {
    return this.#at("redis.sock");
  }

  get isRunning(): boolean {
    return readLivingOwner(this.#processFile) !== null;
  }

  /** Starts it with what its append-only file holds; waits, at most 20 s, until it answers. */
  async start(): Promise<void> {
    if (this.isRunning) return;
    const argv = await this.#argv([this.#at("redis-server"), this.#at("redis.conf")]);
    const output = openSync(this.#at("redis.log"), "a", 0o600);
    try {
      const child = spawn(argv[0] ?? "", argv.slice(1), { detached: true, stdio: ["ignore", output, output] });
      const failed = new Promise<never>((_, reject) => child.once("error", reject));
      child.unref();
      await Promise.race([failed, this.#becomeReady(child.pid)]);
    } finally {
      closeSync(output);
    }
  }

  async #argv(argv: readonly string[]): Promise<string[]> {
    if (this.#cgroup === null) return ["setpriv", "--pdeathsig", "KILL", ...argv];
    await createCgroup(this.#cgroup);
    return inCgroup(this.#cgroup, argv);
  }

  async #becomeReady(pid: number | undefined): Promise<void> {
    if (pid !== undefined) await writeOwner(this.#processFile, pid);
    const deadlineMs = Date.now() + 20_000;
    const { password } = await this.address();
    while (!(await answersPing(this.socketPath, password))) {
      if (!this.isRunning || Date.now() > deadlineMs) {
        const log = await readFile(this.#at("redis.log"), "utf8");
        const message = `redis-server does not answer\n${log.trimEnd().split("\n").slice(-20).join("\n")}`;
        throw new SkepError({ code: "SKEP_LAB_BOOT", message, permanent: false });
      }
      await sleep(10);
    }
  }

  /** Clean stop: all that was acknowledged is in the append-only file. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** SIGKILL. What it had acknowledged is in the append-only file: only a power loss takes the last second. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (!this.#signal(signal)) return;
    const deadlineMs = Date.now() + 20_000;
    while (this.isRunning) {
      if (Date.now() > deadlineMs) {
        throw new SkepError({ code: "SKEP_LAB_STOP", message: "redis-server did not end in 20 s", permanent: false });
      }
      await sleep(10);
    }
  }

  /** It hangs: connections are taken, and nothing is answered, until resume(). */
  suspend(): void {
    this.#signal("SIGSTOP");
  }

  resume(): void {
    this.#signal("SIGCONT");
  }

  #signal(signal: NodeJS.Signals): boolean {
    const owner = readLivingOwner(this.#processFile);
    if (owner === null) return false;
    process.kill(owner.pid, signal);
    return true;
  }

  /** Ends it and removes all that it kept. */
  async remove(): Promise<void> {
    await this.kill();
    if (this.#cgroup !== null) await removeCgroup(this.#cgroup);
    await rm(this.#folder, { recursive: true, force: true });
  }

  get #processFile(): string {
    return this.#at("process.json");
  }

  #at(name: string): string {
    return join(this.#folder, name);
  }
}

/** Removes the folders of servers that stood alone and whose process is gone (they themselves ended with it). */
export async function sweepAlone(): Promise<void> {
  await mkdir(labsFolder(), { recursive: true, mode: 0o700 });
  for (const entry of await readdir(labsFolder())) {
    if (!entry.startsWith("redis.")) continue;
    const folder = join(labsFolder(), entry);
    if (readLivingOwner(join(folder, "owner.json")) === null) await rm(folder, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answersPing(socketPath: string, password: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect({ path: socketPath });
    let answer = "";
    socket.setTimeout(2_000, () => socket.destroy());
    socket.on("connect", () => socket.write(`AUTH ${password}\r\nPING\r\n`));
    socket.on("data", (chunk) => {
      answer += chunk.toString();
      if (answer.split("\r\n").length > 2) socket.destroy();
    });
    // "close" follows, and tells.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      resolve(answer.startsWith("+OK\r\n+PONG"));
    });
  });
}
