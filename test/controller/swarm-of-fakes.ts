// What a test of runs needs: a real Redis, a real store with a repository, fake agents as processes, and controllers
// (queue, runs, tender) that can be ended and begun again.
import { expect } from "chai";
import { Redis } from "ioredis";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { Agents } from "../../controller/agents.ts";
import { Controller } from "../../controller/controller.ts";
import { Policies } from "../../controller/policies.ts";
import { JobQueue } from "../../controller/queue.ts";
import { Repository } from "../../controller/repository.ts";
import { RunBook } from "../../controller/run-book.ts";
import { Runs } from "../../controller/runs.ts";
import { Tender } from "../../controller/tender.ts";
import { agentKey } from "../../shared/contract/queues.ts";
import { makeLogger } from "../../shared/log.ts";
import { catalogueOfController } from "../../shared/repository/catalogue.ts";
import type { ControllerKey } from "../../shared/repository/controller-key.ts";
import { createRepository, type CreatedRepository } from "../../shared/repository/create.ts";
import type { Run, RunNode } from "../../shared/repository/run.ts";
import { generateSigningKeyPair, publicKeyOf } from "../../shared/repository/signature.ts";
import { succeedController } from "../../shared/repository/succession.ts";
import { createStore, openStore } from "../../shared/store/open.ts";
import type { Store } from "../../shared/store/store.ts";
import { RedisServer } from "../lab/redis.ts";
import type { FakeAgentOptions } from "./fake-agent.ts";

export async function until<T>(
  what: string,
  look: () => Promise<T | null | false | undefined>,
  ms = 20_000,
): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== null && found !== false && found !== undefined) return found;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(20);
  }
}

export function runNode(id: string, state = "ready"): RunNode {
  const role = id.startsWith("m") ? ("manager" as const) : ("worker" as const);
  return { id, hostname: id, role, availability: "active", state, address: "10.0.0.1" };
}

export interface Parts {
  queue: JobQueue;
  repository: Repository;
  agents: Agents;
  policies: Policies;
  book: RunBook;
  runs: Runs;
  /** Ends it; `graceMs` 0: as a SIGKILL would, with a step in hand. */
  end(graceMs?: number): Promise<void>;
}

export interface Daemon {
  controller: Controller;
  queue: JobQueue;
  repository: Repository;
  end(graceMs?: number): Promise<void>;
}

const timings = { lockMs: 1000, stalledMs: 300, childBackoffMs: 100, flowBackoffMs: 200 };

export class SwarmOfFakes {
  readonly redis: RedisServer;
  readonly #folder: string;
  readonly key: ControllerKey;
  readonly #made: CreatedRepository;
  readonly #openEnds: (() => Promise<unknown>)[] = [];

  private constructor(redis: RedisServer, folder: string, made: CreatedRepository) {
    this.redis = redis;
    this.#folder = folder;
    this.key = made.controllerKey;
    this.#made = made;
  }

  static async make(): Promise<SwarmOfFakes> {
    const folder = await mkdtemp(join(tmpdir(), "skep-fakes-"));
    const store = await createStore({ url: pathToFileURL(join(folder, "store")).href }, null);
    const made = await createRepository({ store, operatorName: "anna", now: Date.now() });
    await store.close();
    return new SwarmOfFakes(await RedisServer.alone(), folder, made);
  }

  /** As a recovery does: from now on another controller's signature counts. */
  async takeOver(): Promise<void> {
    const store = this.openStore();
    const { rootPublicKey, rootPrivateKey } = this.#made.identityFile;
    const { catalogueKey } = catalogueOfController(store, this.key, []);
    const controllerPublicKey = generateSigningKeyPair().publicKey;
    const keys = { rootPublicKey, rootPrivateKey, controllerPublicKey, catalogueKey };
    await succeedController({ store, ...keys, now: Date.now(), onForeign: () => undefined });
    await store.close();
  }

  async remove(): Promise<void> {
    for (const end of this.#openEnds.reverse()) await end();
    await this.redis.remove();
    await rm(this.#folder, { recursive: true });
  }

  get #storeUrl(): string {
    return pathToFileURL(join(this.#folder, "store")).href;
  }

  openStore(): Store {
    return openStore({ url: this.#storeUrl }, null);
  }

  get #log(): string {
    return join(this.#folder, "accepted");
  }

  /** `NODE TASK` of every job that an agent accepted. */
  async accepted(): Promise<string[]> {
    const lines = await readFile(this.#log, "utf8").catch(() => "");
    return lines.split("\n").filter((line) => line !== "");
  }

  async agent(
    nodeId: string,
    nodes: RunNode[],
    volumes: (string | [string, string | null])[],
    does: FakeAgentOptions["does"] = {},
    other: Partial<FakeAgentOptions> = {},
  ): Promise<ChildProcess> {
    const options: FakeAgentOptions = {
      ...{ redis: await this.redis.address(), nodeId, manager: nodeId.startsWith("m"), storeUrl: this.#storeUrl },
      ...{ repositoryId: this.key.repositoryId, repositoryKey: this.key.repositoryKey, log: this.#log, nodes, does },
      controllerPublicKey: publicKeyOf(this.key.signingKey),
      volumes: volumes.map((volume) => (typeof volume === "string" ? [volume, null] : volume)),
      ...other,
    };
    const child = spawn(process.execPath, [join(import.meta.dirname, "fake-agent.ts")], {
      stdio: ["pipe", "ignore", "inherit"],
    });
    child.stdin.end(JSON.stringify(options));
    this.#openEnds.push(() => kill(child));
    const redis = new Redis(options.redis);
    try {
      await until(`the agent of ${nodeId} beats`, async () => (await redis.exists(agentKey(nodeId))) === 1);
    } finally {
      redis.disconnect();
    }
    return child;
  }

  /** The controller put together as its daemon does it, working; without its API's server. */
  async daemon(policy: object, { graceMs = 1500 } = {}): Promise<Daemon> {
    const log = makeLogger("test", process.env["SKEP_TEST_LOG"] ?? "silent");
    const repository = await Repository.open(this.openStore(), this.key);
    const queue = new JobQueue(await this.redis.address(), log, timings);
    const stop = new AbortController();
    let working: Promise<void> = Promise.resolve();
    let ended: Promise<void> | null = null;
    const end = (grace = 1000): Promise<void> => {
      ended ??= (async () => {
        stop.abort();
        await working;
        await queue.close(grace);
        await repository.store.close();
      })();
      return ended;
    };
    this.#openEnds.push(() => end(0));
    await until("Redis is reached", () => Promise.resolve(queue.ready));
    const seedText = JSON.stringify({ policy: { version: 1, ...policy } });
    const tenderTimings = { everyMs: 50, watchMs: 100, graceMs };
    const controller = await Controller.open({ queue, repository, seedText, log, timings: tenderTimings });
    working = controller.work(stop.signal);
    return { controller, queue, repository, end };
  }

  /** `policy`: the YAML under `policy:`, as JSON. Agents are expected as if they were enrolled. */
  async controller(
    policy: object,
    expected: string[],
    { graceMs = 1500, wrap = (store: Store) => store } = {},
  ): Promise<Parts> {
    const log = makeLogger("test", process.env["SKEP_TEST_LOG"] ?? "silent");
    const repository = await Repository.open(wrap(this.openStore()), this.key);
    const queue = new JobQueue(await this.redis.address(), log, timings);
    const policies = new Policies(repository);
    await policies.load(JSON.stringify({ policy: { version: 1, ...policy } }), Date.now());
    const book = new RunBook(repository, log);
    await book.load();
    const agents = new Agents(100);
    for (const nodeId of expected) agents.expect(nodeId, nodeId);
    const runs = new Runs({ queue, repository, agents, policies, book, log, graceMs });
    const tenderTimings = { everyMs: 50, watchMs: 100, graceMs };
    const tender = new Tender({
      queue,
      agents,
      log,
      timings: tenderTimings,
      dispatching: (flow) => runs.dispatching(flow),
      onLost: (flow) => runs.replaceLost(flow, Date.now()),
    });
    const stop = new AbortController();
    const tending = tender.run(stop.signal);
    queue.serveFlows(runs.handlers);
    let ended: Promise<void> | null = null;
    const end = (grace = 1000): Promise<void> => {
      ended ??= (async () => {
        stop.abort();
        await tending;
        await queue.close(grace);
        await repository.store.close();
      })();
      return ended;
    };
    this.#openEnds.push(() => end(0));
    return { queue, repository, agents, policies, book, runs, end };
  }
}

export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await exited;
}

/** The run, once it is written. */
export function written({ book }: Parts, runId: string, ms?: number): Promise<Run> {
  return until(`run ${runId} is written`, () => book.run(runId), ms);
}

/** What was taken; the runbook, which each run has last, has tests of its own. */
export function partsOf(run: Run): string[] {
  const taken = run.parts.filter(({ kind }) => kind !== "runbook");
  expect(taken).to.have.length(run.parts.length - 1);
  return taken.map(({ kind, name, status, error }) => [kind, name, status, error?.code].filter(Boolean).join(" "));
}
