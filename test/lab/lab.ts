// The lab: a real swarm on one machine, for tests and for people. This file is its door.
//
//   const lab = await Lab.up({ nodes: 3, managers: 3 });
//   …
//   await lab.down();
//
// A lab lives no longer than the process that made it (unless `keep`): what a process left that died is taken away by the
// next Lab.up on the machine. docs/LAB.md says what it is made of.
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { SkepError } from "../../shared/errors.ts";
import { suites, type Suite } from "./apt-sources.ts";
import { removeCgroup } from "./cgroup.ts";
import type { LabImage } from "./image.ts";
import { withLock } from "./lock.ts";
import { createBridge, freeSubnet, hostAddress, removeBridge } from "./network.ts";
import { createAccess, type DataRoot, LabNode, operatorPassword, sshKeyPath } from "./node.ts";
import { thisOwner } from "./owner.ts";
import { ensureRootfs, nodeRecipe, s3Recipe } from "./rootfs.ts";
import { RedisServer, sweepAlone } from "./redis.ts";
import { S3Server } from "./s3.ts";
import { ensureSeed, loadImages, plantSeed, type Seed } from "./seed.ts";
import {
  bridgesLock,
  cgroupOf,
  checkName,
  idFor,
  isStale,
  labFolder,
  labsLock,
  listStates,
  readState,
  removeUnborn,
  sweepLock,
  writeState,
  type LabState,
} from "./state.ts";
import { nodeStatus, type LabStatus } from "./status.ts";
import { initSwarm, joinSwarm, type Swarm, type SwarmOptions } from "./swarm.ts";

export interface LabOptions {
  /** 1 to 20 characters of a-z, 0-9 and "-"; without it a name that is free. */
  name?: string;
  /** How many nodes are made and started; 0 makes a lab of servers only. */
  nodes?: number;
  /** Makes a swarm with that many managers; without it the nodes have engines and no swarm. */
  managers?: number;
  /** "bookworm" (Docker 20.10, the default), "trixie" (Docker 26) or "forky" (Docker 28). */
  engine?: Suite;
  /** What the nodes' engines have from the start (image.ts); without it they have none. */
  images?: readonly LabImage[];
  /** The filesystem of the nodes' data roots, on disks of their own; without it they lie on the host's. */
  dataRoot?: "btrfs" | "xfs";
  /** Starts an S3 server on the lab's network, too: `lab.s3`. */
  s3?: boolean;
  /** Starts a Redis server on the bridge's address, too: `lab.redis`. */
  redis?: boolean;
  /** The lab outlives this process; it stays until `down`. */
  keep?: boolean;
  /** Told, in a line each, what takes long. Default: stderr. */
  say?: (line: string) => void;
}

/** Folders of finished root file systems; s3 is empty for a lab without. */
interface Rootfs {
  node: string;
  s3: string;
}

function sayOnStderr(line: string): void {
  process.stderr.write(`lab: ${line}\n`);
}

/** Last number of the highest address that a node may have; above are the lab's servers and the host. */
const lastNodeIndex = 240;

export class Lab {
  /** Those that were not burned, in the order they came. */
  nodes: LabNode[] = [];
  readonly #s3: S3Server | null;
  readonly #redis: RedisServer | null;
  #state: LabState;
  readonly #rootfs: string;
  readonly #say: (line: string) => void;

  private constructor(state: LabState, rootfs: Rootfs, say: (line: string) => void) {
    this.#say = say;
    this.#state = state;
    this.#rootfs = rootfs.node;
    this.nodes = state.nodes.map((node) => new LabNode(state, node, rootfs.node));
    this.#s3 = state.hasS3 ? new S3Server(state, rootfs.s3) : null;
    this.#redis = state.hasRedis ? RedisServer.of(state) : null;
  }

  /** Takes away what dead processes left, then makes a lab and starts all that is asked for. When that fails, nothing is left. */
  static async up(options: LabOptions = {}): Promise<Lab> {
    const say = options.say ?? sayOnStderr;
    const name = options.name ?? `t${randomBytes(4).toString("hex")}`;
    checkName(name);
    await Lab.sweep(say);
    const engine = options.engine ?? "bookworm";
    const rootfs = await findRootfs({ engine, hasS3: options.s3 === true }, say);
    const { images } = options;
    // Before the lab is there: making images takes a lab of its own.
    if (images !== undefined) await ensureSeed(images, Lab.#seed(engine, say));
    const state = await withLock(bridgesLock, async () => {
      const claimed = await claim(name, engine, options);
      await createBridge(claimed.id, claimed.subnet).catch(async (error: unknown) => {
        await takeAway(claimed);
        throw error;
      });
      return claimed;
    });
    const lab = new Lab(state, rootfs, say);
    try {
      await createAccess(name);
      const nodes = Array.from({ length: options.nodes ?? 0 }, () => lab.#addNode(undefined, images, options.dataRoot));
      const servers = [lab.#s3?.create(), lab.#redis?.create()].filter((server) => server !== undefined);
      await settled([...nodes, ...servers]);
      lab.nodes.sort((a, b) => a.index - b.index);
      if (options.managers !== undefined) await lab.initSwarm({ managers: options.managers });
      return lab;
    } catch (error) {
      await lab.down().catch((second: unknown) => {
        throw new AggregateError([error, second], `lab ${name} could be neither made nor taken away`);
      });
      throw error;
    }
  }

  /** The lab `name` that another process made. Throws SKEP_LAB_ABSENT when there is none. */
  static async open(name: string, say: (line: string) => void = sayOnStderr): Promise<Lab> {
    checkName(name);
    const state = await readState(name);
    if (state === null) {
      throw new SkepError({
        code: "SKEP_LAB_ABSENT",
        message: `there is no lab ${name}`,
        permanent: true,
        hint: "npm run lab -- up --nodes 3",
      });
    }
    return new Lab(state, await findRootfs(state, say), say);
  }

  /** Makes all that labs are made of and that the cache does not have yet: some minutes the first time. */
  static async prepare(images: readonly LabImage[] = [], say: (line: string) => void = sayOnStderr): Promise<void> {
    await settled([...suites.map((suite) => ensureRootfs(nodeRecipe(suite), say)), ensureRootfs(s3Recipe(), say)]);
    if (images.length > 0) await ensureSeed(images, Lab.#seed("bookworm", say));
  }

  /** All labs of this machine, oldest first. */
  static async list(): Promise<LabState[]> {
    return await listStates();
  }

  /** Takes away each lab whose process died without taking it down. */
  static async sweep(say: (line: string) => void = sayOnStderr): Promise<void> {
    await withLock(sweepLock(), async () => {
      await sweepAlone();
      for (const state of await listStates()) {
        if (!isStale(state)) continue;
        say(`taking away lab ${state.name}, whose process died`);
        await takeAway(state);
      }
    });
  }

  get name(): string {
    return this.#state.name;
  }

  get engine(): Suite {
    return this.#state.engine;
  }

  /** The S3 server of a lab that was made with one; else it throws SKEP_LAB_NO_SERVER. */
  get s3(): S3Server {
    if (this.#s3 !== null) return this.#s3;
    throw new SkepError({
      code: "SKEP_LAB_NO_SERVER",
      message: `lab ${this.name} was made without an S3 server`,
      permanent: true,
      hint: "Lab.up({ s3: true }), or npm run lab -- up --s3",
    });
  }

  /** The Redis server of a lab that was made with one; else it throws SKEP_LAB_NO_SERVER. */
  get redis(): RedisServer {
    if (this.#redis !== null) return this.#redis;
    throw new SkepError({
      code: "SKEP_LAB_NO_SERVER",
      message: `lab ${this.name} was made without a Redis server`,
      permanent: true,
      hint: "Lab.up({ redis: true }), or npm run lab -- up --redis",
    });
  }

  /** The host's address on the lab's network: nodes reach what the test itself serves there. */
  get hostAddress(): string {
    return hostAddress(this.#state.subnet);
  }

  /** The node of that name, or number in order from 0. Throws SKEP_LAB_NO_NODE. */
  node(which: string | number): LabNode {
    const found = typeof which === "number" ? this.nodes[which] : this.nodes.find((node) => node.name === which);
    if (found !== undefined) return found;
    throw new SkepError({
      code: "SKEP_LAB_NO_NODE",
      message: `lab ${this.name} has no node ${which}`,
      permanent: true,
      hint: `it has ${this.nodes.map((node) => node.name).join(", ")}`,
    });
  }

  /** Makes and starts one more node, fresh from its installation. With the name of a burned node it also gets its address. */
  async addNode(options: { name?: string; images?: readonly LabImage[] } = {}): Promise<LabNode> {
    return await this.#addNode(options.name, options.images);
  }

  async #addNode(name?: string, images?: readonly LabImage[], dataRoot?: DataRoot): Promise<LabNode> {
    const seed = images === undefined ? null : await ensureSeed(images, Lab.#seed(this.engine, this.#say));
    return await this.#add(name, seed, dataRoot);
  }

  async #add(name: string | undefined, seed: string | null, dataRoot?: DataRoot): Promise<LabNode> {
    const node = await this.#reserve(name);
    await node.create(dataRoot === undefined ? {} : { dataRoot });
    if (seed !== null) await plantSeed(seed, node);
    await node.start();
    this.nodes.push(node);
    return node;
  }

  static #seed(engine: Suite, say: (line: string) => void): Seed {
    return {
      engine,
      say,
      withBuilder: async (seed, work) => {
        const lab = await Lab.up({ engine, say });
        try {
          // An engine waits for the disk at every step of a build: in memory a tenth of the time is enough.
          await work(await lab.#add(undefined, seed, "memory"));
        } finally {
          await lab.down();
        }
      },
    };
  }

  async #reserve(name: string | undefined): Promise<LabNode> {
    return await this.#change((state) => {
      const taken = state.nodes.map((node) => node.index);
      const asked = name === undefined ? undefined : Number(/^node(\d{1,3})$/.exec(name)?.[1] ?? NaN);
      const index = asked ?? Math.max(state.highestIndex, ...taken) + 1;
      if (!(index >= 1 && index <= lastNodeIndex) || taken.includes(index)) {
        const message = `lab ${this.name}: ${name ?? `node${index}`} is taken, or no name for a node`;
        throw new SkepError({ code: "SKEP_LAB_NO_NODE", message, permanent: true, hint: "node1, node2, …" });
      }
      const reserved = { name: `node${index}`, index };
      state.nodes.push(reserved);
      state.highestIndex = Math.max(state.highestIndex, index);
      return new LabNode(state, reserved, this.#rootfs);
    });
  }

  /** Fire: `node` loses its power and all that it had. Its name and address are free again. */
  async burn(node: LabNode): Promise<void> {
    await node.remove();
    this.nodes = this.nodes.filter((other) => other !== node);
    await this.#change((state) => {
      state.nodes = state.nodes.filter((other) => other.name !== node.name);
    });
  }

  /** Loads images into engines that run already (without `nodes`: into all). */
  async loadImages(images: readonly LabImage[], nodes: readonly LabNode[] = this.nodes): Promise<void> {
    await loadImages(nodes, images, Lab.#seed(this.engine, this.#say));
  }

  async initSwarm(options: SwarmOptions): Promise<Swarm> {
    return await initSwarm(this.nodes, options);
  }

  /** Lets `node` join the swarm of `manager`; without it, of the first node that is a manager and running. */
  async join(node: LabNode, role: "manager" | "worker", manager?: LabNode): Promise<void> {
    await joinSwarm(node, manager ?? (await this.#someManager()), role);
  }

  async #someManager(): Promise<LabNode> {
    for (const node of this.nodes) if ((await nodeStatus(node)).swarm === "manager") return node;
    throw new SkepError({
      code: "SKEP_LAB_NO_NODE",
      message: `lab ${this.name} has no running manager of a swarm`,
      permanent: false,
      hint: "make one with docker swarm init on a node",
    });
  }

  /** Takes everything away. May be called again. */
  async down(): Promise<void> {
    const state = await readState(this.name);
    if (state !== null && state.createdAt === this.#state.createdAt) await takeAway(state);
    this.nodes = [];
  }

  /** As down(), of the lab of that name, whoever made it; when there is none, nothing is to do. */
  static async takeAway(name: string): Promise<void> {
    checkName(name);
    const state = await readState(name);
    if (state !== null) await takeAway(state);
  }

  async status(): Promise<LabStatus> {
    const { name, engine, hostAddress } = this;
    const [s3, redis] = [this.#s3, this.#redis];
    const power = (server: { isRunning: boolean }) => (server.isRunning ? "on" : "off");
    return {
      ...{ name, engine, hostAddress, sshKeyPath: sshKeyPath(name), operatorPassword: await operatorPassword(name) },
      nodes: await Promise.all(this.nodes.map((node) => nodeStatus(node))),
      s3: s3 && { endpoint: s3.endpoint, region: s3.region, ...(await s3.credentials()), power: power(s3) },
      redis: redis && { ...(await redis.address()), power: power(redis) },
    };
  }

  async #change<T>(change: (state: LabState) => T): Promise<T> {
    return await withLock(labsLock(), async () => {
      const state = (await readState(this.name)) ?? this.#state;
      const result = change(state);
      await writeState(state);
      this.#state = state;
      return result;
    });
  }
}

async function findRootfs(wanted: Pick<LabState, "engine" | "hasS3">, say: (line: string) => void): Promise<Rootfs> {
  const [node, s3] = await Promise.all([
    ensureRootfs(nodeRecipe(wanted.engine), say),
    wanted.hasS3 ? ensureRootfs(s3Recipe(), say) : "",
  ]);
  return { node, s3 };
}

/** Waits for the end of all; then throws what the first that failed threw. Nothing goes on in the background. */
async function settled(all: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(all)) if (result.status === "rejected") throw result.reason;
}

/** Enters a new lab, with a subnet that nobody else has. */
async function claim(name: string, engine: Suite, options: LabOptions): Promise<LabState> {
  return await withLock(labsLock(), async () => {
    await removeUnborn();
    const others = await listStates();
    if (others.some((other) => other.name === name)) {
      throw new SkepError({
        code: "SKEP_LAB_EXISTS",
        message: `there is a lab ${name} already`,
        permanent: true,
        hint: `npm run lab -- down --name ${name}, or another --name`,
      });
    }
    const state: LabState = {
      format: 1,
      name,
      id: idFor(name),
      owner: options.keep === true ? null : thisOwner(),
      engine,
      subnet: await freeSubnet(others.map((other) => other.subnet)),
      createdAt: new Date().toISOString(),
      nodes: [],
      hasS3: options.s3 === true,
      hasRedis: options.redis === true,
      highestIndex: 0,
    };
    await writeState(state);
    return state;
  });
}

/** Removes all that the lab of `state` ever made, as far as it is there. */
async function takeAway(state: LabState): Promise<void> {
  // The root file system matters to a start only.
  const machines = state.nodes.map((node) => new LabNode(state, node, "/nonexistent").remove());
  if (state.hasS3) machines.push(new S3Server(state, "/nonexistent").remove());
  if (state.hasRedis) machines.push(RedisServer.of(state).remove());
  await settled(machines);
  await removeCgroup(cgroupOf(state.id));
  await removeBridge(state.id);
  await rm(labFolder(state.name), { recursive: true, force: true });
}
