// What soaks of killed runs make quiet on a cluster, and how it is told that all is as it was: services, what their
// records say of them, and containers outside of services.
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { expect } from "chai";
import { connectDocker, type Docker } from "../../agent/docker.ts";
import type { SwarmService } from "../../agent/docker-objects.ts";
import { findRecords, newestOfEach } from "../../agent/quiesce/hold-book.ts";
import type { RunAnswer } from "../../controller/api/schemas.ts";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import type { Run } from "../../shared/repository/run.ts";
import { until } from "../e2e/agent-rig.ts";
import type { Cluster } from "../e2e/cluster.ts";
import { volumePath } from "../e2e/volumes.ts";

/** Each has a volume `quiet-NAME`. */
export interface QuietService {
  name: string;
  nodes: readonly string[];
  options: readonly string[];
  labels: readonly string[];
}

const image = "skep-lab/node:24";
const program = "process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1e6)";

export class QuietEstate {
  readonly #cluster: Cluster;
  readonly #services: readonly QuietService[];
  /** Outside of services: name of a container, and its node. */
  readonly #plain: Readonly<Record<string, string>>;
  readonly #volumeBytes: number;
  readonly #engine: Docker;
  readonly #asBefore = new Map<string, SwarmService>();

  private constructor(
    cluster: Cluster,
    services: readonly QuietService[],
    plain: Readonly<Record<string, string>>,
    volumeBytes: number,
  ) {
    this.#cluster = cluster;
    this.#services = services;
    this.#plain = plain;
    this.#volumeBytes = volumeBytes;
    this.#engine = connectDocker(cluster.manager.dockerSocketPath);
  }

  /** All runs; each service was updated once, so that there is a previous spec to be lost. */
  static async make(
    cluster: Cluster,
    services: readonly QuietService[],
    { plain = {}, volumeBytes }: { plain?: Readonly<Record<string, string>>; volumeBytes: number },
  ): Promise<QuietEstate> {
    const estate = new QuietEstate(cluster, services, plain, volumeBytes);
    for (const service of services) await estate.#create(service);
    for (const { name } of services) estate.#asBefore.set(name, await estate.#service(name));
    for (const [name, node] of Object.entries(plain)) {
      const options = ["--volume", `quiet-${name}:/data`, "--label", "skep.quiesce=stop", image, "node", "-e", program];
      // One that runs when its node loses power is for the engine to start, one that is stopped then for Skep.
      const run = ["docker", "run", "--detach", "--restart", "unless-stopped", "--name", name];
      await cluster.lab.node(node).run([...run, ...options]);
    }
    await estate.renewVolumes();
    return estate;
  }

  async #create({ name, nodes, options, labels }: QuietService): Promise<void> {
    const place = options.includes("global") ? [] : ["--constraint", `node.hostname==${nodes[0] ?? ""}`];
    await this.#docker(
      ...["service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", name, ...place, ...options],
      ...["--mount", `type=volume,source=quiet-${name},target=/data`, "--update-monitor", "100ms"],
      ...labels.flatMap((label) => ["--label", label]),
      ...[image, "node", "-e", program, "old"],
    );
    await until(() => this.#runs(name));
    await this.#docker("service", "update", "--detach", "--quiet", "--args", `node -e "${program}" new`, name);
    await until(async () => (await this.#service(name)).UpdateStatus?.State === "completed", 120_000);
    await until(() => this.#runs(name));
  }

  async #docker(...argv: string[]): Promise<string> {
    return (await this.#cluster.manager.run(["docker", ...argv])).trim();
  }

  async #service(name: string): Promise<SwarmService> {
    return (await this.#engine.service(name)) ?? expect.fail(`no service ${name}`);
  }

  /** As many tasks as its spec says run, and no other. */
  async #runs(name: string): Promise<boolean> {
    const { Spec } = await this.#service(name);
    const { length } = this.#cluster.lab.nodes;
    const wanted = Spec.Mode.Global === undefined ? (Spec.Mode.Replicated?.Replicas ?? 1) : length;
    const tasks = await this.#engine.tasks({ service: [name], "desired-state": ["running"] });
    return tasks.length === wanted && tasks.every(({ Status }) => Status.State === "running");
  }

  /** So that there is something to be read. */
  async renewVolumes(): Promise<void> {
    const places = this.#services.flatMap(({ name, nodes }) => nodes.map((node) => [name, node] as const));
    for (const [name, node] of [...places, ...Object.entries(this.#plain)]) {
      const path = volumePath(this.#cluster.lab.node(node), `quiet-${name}`);
      await writeFile(`${path}/noise`, randomBytes(this.#volumeBytes));
    }
  }

  /** What is still wrong; empty when all is as it was made. */
  async #wrongs(): Promise<string[]> {
    const found: string[] = [];
    const records = newestOfEach(await findRecords(this.#engine));
    for (const [name, { ID, Spec, PreviousSpec, UpdateStatus }] of this.#asBefore) {
      if (!isDeepStrictEqual((await this.#service(name)).Spec, Spec)) found.push(`${name} has another spec`);
      if (!(await this.#runs(name))) found.push(`${name} does not run`);
      const kept = records.find(({ record }) => record.serviceId === ID);
      if (kept === undefined) continue;
      if (kept.releasedAt === null) found.push(`${name} is held`);
      if (!isDeepStrictEqual(kept.record.previous, PreviousSpec ?? null))
        found.push(`the record of ${name} does not say what it was before its last update`);
      if (!isDeepStrictEqual(kept.record.updateStatus, UpdateStatus ?? null))
        found.push(`the record of ${name} does not say how its last update ended`);
    }
    for (const node of this.#cluster.lab.nodes) {
      const paused = await node.run(["docker", "ps", "--filter", "status=paused", "--format", "{{.Names}}"]);
      if (paused.trim() !== "") found.push(`on ${node.name} is paused: ${paused.trim()}`);
    }
    for (const [name, node] of Object.entries(this.#plain)) {
      const state = await this.#cluster.lab
        .node(node)
        .run(["docker", "inspect", "--format", "{{.State.Status}}", name]);
      if (state.trim() !== "running") found.push(`${name} is ${state.trim()}`);
    }
    return found;
  }

  /** `timeoutMs`: longer than a deadline of one minute, and the minute after which somebody looks. */
  async untilAsBefore(timeoutMs = 240_000): Promise<void> {
    let found: string[] = [];
    const isAsBefore = async (): Promise<boolean> => {
      // Managers that have just lost one of them answer nothing for a while.
      found = await this.#wrongs().catch((error: unknown) => [String(error)]);
      return found.length === 0;
    };
    await until(isAsBefore, timeoutMs).catch(() => {
      expect.fail(found.join("; "));
    });
  }

  /** A Redis that was killed in the round before may still be starting: then no run begins. */
  async begin(): Promise<string> {
    const begun: string[] = [];
    await until(async () => {
      const { code, stdout } = await this.#cluster.skep(["backup", "--json"], { tolerant: true });
      if (code === 0) begun.push((JSON.parse(stdout) as BackupDocument).runId);
      return code === 0;
    }, 180_000);
    return begun[0] ?? expect.fail("no run was begun");
  }

  async endOf(runId: string): Promise<Run> {
    const ended: Run[] = [];
    await until(async () => {
      const result = await this.#cluster.skep(["show", runId, "--json"], { tolerant: true });
      if (result.code !== 0 && result.code !== 3) return false;
      const answer = JSON.parse(result.stdout) as RunAnswer;
      if ("run" in answer) ended.push(answer.run);
      return ended.length > 0;
    }, 240_000);
    return ended[0] ?? expect.fail(`run ${runId} has no end`);
  }
}
