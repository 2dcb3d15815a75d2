// Skep on a lab, as a user has it: a kit by `skep init`, the stack by `docker stack deploy`, and the CLI on the
// operator's machine, which is the host. For the end-to-end tests and the demo.
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { agentsSchema, runAnswerSchema, type RunAnswer } from "../../controller/api/schemas.ts";
import { accessApi } from "../../controller/cli/access.ts";
import type { ApiClient } from "../../controller/cli/api-client.ts";
import { parseLocation } from "../../shared/store/location.ts";
import { openStore } from "../../shared/store/open.ts";
import type { Store } from "../../shared/store/store.ts";
import { tryCommand, type CommandResult } from "../lab/command.ts";
import { redisImage } from "../lab/image.ts";
import { Lab, type LabOptions } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import type { BucketOptions } from "../lab/s3.ts";
import { skepImages } from "../lab/skep-image.ts";
import { labFolder } from "../lab/state.ts";

const projectRoot = join(import.meta.dirname, "..", "..");
const operator = "anna";
const apiPort = 8420;
const redisTag = "skep-lab/redis:7";

/** `images`: beside Skep's and Redis'. */
export interface ClusterOptions extends LabOptions {
  nodes: number;
  managers: number;
  /** Text for the `policy:` key of skep.yaml, one level in; default: everything, no schedule. */
  policy?: string;
  /** More variables of stack.yml, such as SKEP_CONTROLLER_PLACEMENT. */
  stack?: Readonly<Record<string, string>>;
  /** Files of deploy/examples that are deployed over stack.yml. */
  overlays?: readonly string[];
  bucket?: string;
  bucketOptions?: BucketOptions;
}

export class Cluster {
  readonly lab: Lab;
  /** On the host; the nodes have what the stack needs of it under /root/skep. */
  readonly folder: string;
  readonly bucket: string;
  readonly #stack: Readonly<Record<string, string>>;
  readonly #overlays: readonly string[];

  private constructor(lab: Lab, folder: string, options: ClusterOptions) {
    this.lab = lab;
    this.folder = folder;
    this.bucket = options.bucket ?? "backups";
    this.#stack = options.stack ?? {};
    this.#overlays = options.overlays ?? [];
  }

  /** A lab with S3, all images on its nodes, a swarm, a bucket and a kit; Skep is not deployed yet. */
  static async up(options: ClusterOptions): Promise<Cluster> {
    const images = [...(await skepImages()), redisImage(redisTag), ...(options.images ?? [])];
    const lab = await Lab.up({ ...options, s3: true, images });
    // With the lab's own things, so that it goes when the lab does, whoever takes it away.
    const folder = join(labFolder(lab.name), "operator");
    await mkdir(folder, { mode: 0o700 });
    const cluster = new Cluster(lab, folder, options);
    try {
      await lab.s3.createBucket(cluster.bucket, options.bucketOptions);
      await cluster.#init(options.policy);
      return cluster;
    } catch (error) {
      await cluster.down();
      throw error;
    }
  }

  get kit(): string {
    return join(this.folder, "skep-kit");
  }

  get identity(): string {
    return join(this.kit, `identity-${operator}.txt`);
  }

  get manager(): LabNode {
    return this.lab.node(0);
  }

  async #init(policy: string | undefined): Promise<void> {
    const credentials = join(this.folder, "s3.json");
    await writeFile(credentials, JSON.stringify(await this.lab.s3.credentials()), { mode: 0o600 });
    const api = this.#addresses().flatMap((url) => ["--api", url]);
    const store = [
      "--store",
      `s3://${this.bucket}`,
      "--endpoint",
      this.lab.s3.endpoint,
      "--region",
      this.lab.s3.region,
    ];
    await this.skep(
      [
        "init",
        "--no-stored-kit",
        ...api,
        ...store,
        "--path-style",
        "--credentials",
        credentials,
        "--operator",
        operator,
        "--out",
        this.kit,
      ],
      { kit: false },
    );
    if (policy !== undefined) await this.setPolicy(policy);
  }

  /** Replaces the `policy:` of the kit's skep.yaml; `policy` is YAML, not indented. Takes effect when deployed. */
  async setPolicy(policy: string): Promise<void> {
    const path = join(this.kit, "skep.yaml");
    const text = await readFile(path, "utf8");
    const rest = text.replace(/^policy:.*(?:\n[ #].*|\n)*/m, "");
    await writeFile(path, `${rest.trimEnd()}\npolicy:\n${policy.replaceAll(/^(?=.)/gm, "  ")}\n`);
  }

  /** `docker stack deploy -c stack.yml skep` on a manager, with the files that a user has there. `more`: variables, as of a later kit. */
  async deploy(more: Readonly<Record<string, string>> = {}): Promise<void> {
    const target = "/root/skep";
    const folder = this.manager.hostPath(target);
    await mkdir(join(folder, "deploy"), { recursive: true });
    await cp(join(projectRoot, "stack.yml"), join(folder, "stack.yml"));
    for (const file of ["redis.conf", "examples"]) {
      await cp(join(projectRoot, "deploy", file), join(folder, "deploy", file), { recursive: true });
    }
    await cp(this.kit, join(folder, "skep-kit"), { recursive: true });
    // As a careful operator does: what opens the backups is not on the swarm.
    await rm(join(folder, "skep-kit", `identity-${operator}.txt`), { force: true });
    const overlays = this.#overlays.flatMap((name) => ["-c", `${target}/deploy/examples/${name}`]);
    await this.manager.run(
      ["docker", "stack", "deploy", "--resolve-image", "never", "-c", `${target}/stack.yml`, ...overlays, "skep"],
      { env: { SKEP_REDIS_IMAGE: redisTag, ...this.#stack, ...more } },
    );
  }

  /** Waits until the controller answers and `count` agents of this cluster (default: one a node) are seen. */
  async ready(count = this.lab.nodes.length, timeoutMs = 90_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    let last = "";
    while (Date.now() < deadline) {
      try {
        const { agents } = await (await this.api()).call({ path: "/v1/agents", schema: agentsSchema });
        if (agents.filter(({ lastSeenAt }) => lastSeenAt !== null).length >= count) return;
        last = JSON.stringify(agents);
      } catch (error) {
        last = String(error);
      }
      await sleep(500);
    }
    const services = await this.manager.exec(["docker", "stack", "ps", "--no-trunc", "skep"]);
    throw new Error(`Skep was not ready after ${timeoutMs} ms: ${last}\n${services.stdout}`);
  }

  /** Where the one task of a service of the stack runs now; null while it runs nowhere. */
  async nodeOf(service: "controller" | "redis"): Promise<LabNode | null> {
    const format = "{{.Node}} {{.CurrentState}}";
    const filter = ["--filter", "desired-state=running", "--format", format];
    const { stdout } = await this.manager.exec(["docker", "service", "ps", ...filter, `skep_${service}`]);
    const name = /^(\S+) Running/m.exec(stdout)?.[1];
    return this.lab.nodes.find((node) => node.name === name) ?? null;
  }

  /** Id of the container of a service of the stack on `node`; null where none runs. */
  async containerOn(node: LabNode, service: "controller" | "redis" | "agent"): Promise<string | null> {
    const label = `label=com.docker.swarm.service.name=skep_${service}`;
    const ids = (await node.run(["docker", "ps", "--quiet", "--filter", label])).split("\n");
    return ids[0] === undefined || ids[0] === "" ? null : ids[0];
  }

  /** SIGKILL, as the kernel's out-of-memory killer does it. Swarm starts another task. */
  async kill(node: LabNode, service: "controller" | "redis" | "agent"): Promise<void> {
    const container = await this.containerOn(node, service);
    if (container === null) throw new Error(`no ${service} runs on ${node.name}`);
    await node.run(["docker", "kill", "--signal", "KILL", container]);
  }

  /** Runs the CLI on the host with this cluster's kit. Throws unless it ends with 0, or `tolerant`. */
  async skep(
    argv: readonly string[],
    options: { kit?: boolean; tolerant?: boolean; input?: string; signal?: AbortSignal } = {},
  ): Promise<CommandResult> {
    const main = join(projectRoot, "controller", "cli", "main.ts");
    if (options.kit !== false) await this.#nameNodes();
    const environment: Record<string, string> = { ...(process.env as Record<string, string>), NO_COLOR: "1" };
    // Each of the many calls starts in half the time.
    environment["NODE_COMPILE_CACHE"] = join(this.folder, "compiled");
    if (options.kit !== false) environment["SKEP_KIT"] = this.kit;
    const result = await tryCommand([process.execPath, main, ...argv], {
      env: environment,
      signal: options.signal ?? AbortSignal.timeout(300_000),
      ...(options.input === undefined ? {} : { input: options.input }),
    });
    if (result.code !== 0 && options.tolerant !== true) {
      throw new Error(`skep ${argv.join(" ")}: exit status ${result.code}\n${result.stderr}${result.stdout}`);
    }
    return result;
  }

  /**
   * The controller's API by this cluster's kit, as the CLI asks it: for what is waited for. A command each time is half a
   * second of a processor, which those lack who are waited for.
   */
  async api(): Promise<ApiClient> {
    await this.#nameNodes();
    return await accessApi({ kit: this.kit });
  }

  /** The run while it is under way, or its end. Throws what the controller says, and SKEP_API_UNREACHABLE. */
  async runOf(runId: string): Promise<RunAnswer> {
    return await (await this.api()).call({ path: `/v1/runs/${runId}`, schema: runAnswerSchema });
  }

  #addresses(): string[] {
    return this.lab.nodes.map(({ address }) => `https://${address}:${apiPort}`);
  }

  /** Writes into the kit where the controller may be now that machines came, as its operator would. */
  async #nameNodes(): Promise<void> {
    const path = join(this.kit, "cli.json");
    const context = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
    const api = this.#addresses();
    if (!isDeepStrictEqual(context["api"], api)) await writeFile(path, JSON.stringify({ ...context, api }));
  }

  /** As skep with --json: the document. */
  async skepJson<T>(argv: readonly string[]): Promise<T> {
    return JSON.parse((await this.skep([...argv, "--json"])).stdout) as T;
  }

  /** The cluster's bucket, with the rights of its owner. The caller closes it. */
  async openStore(): Promise<Store> {
    const { endpoint, region } = this.lab.s3;
    const location = parseLocation({ url: `s3://${this.bucket}`, endpoint, region, pathStyle: true });
    return openStore(location, await this.lab.s3.credentials());
  }

  async down(): Promise<void> {
    await this.lab.down();
  }
}
