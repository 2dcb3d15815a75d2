// A node of a lab with one container, `cache`, a Redis that writes into the volume `data`; and its agent's parts, which a
// test calls itself, without a controller.
import { join } from "node:path";
import { backup } from "../../agent/backup.ts";
import type { AgentContext, Attempt, QuietTools } from "../../agent/context.ts";
import { connectDocker, type Docker } from "../../agent/docker.ts";
import { Journal } from "../../agent/journal.ts";
import { Moments } from "../../agent/moment/moments.ts";
import { Watches } from "../../agent/quiesce/watches.ts";
import type { TaskOf } from "../../shared/contract/job.ts";
import { deriveWriterKeys } from "../../shared/repository/keys.ts";
import type { Part } from "../../shared/repository/run.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { Rig, until } from "./agent-rig.ts";

export const cacheImage = redisImage();
export const patient = new AbortController().signal;

export class CacheNode {
  readonly #lab: Lab;
  readonly node: LabNode;
  readonly engine: Docker;
  readonly rig: Rig;
  readonly journal: Journal;
  readonly tools: QuietTools;
  readonly context: AgentContext;

  private constructor(lab: Lab, rig: Rig, writerId: string) {
    this.#lab = lab;
    this.node = lab.node("node1");
    this.engine = connectDocker(this.node.dockerSocketPath);
    this.rig = rig;
    this.journal = new Journal(join(rig.folder, "journal.sqlite"));
    this.tools = { journal: this.journal, moments: new Moments(this.journal), watches: new Watches() };
    const { repositoryId, epoch } = rig.repository.repositoryObject;
    const writerKey = rig.writerKey(writerId);
    this.context = {
      ...{ docker: this.engine, dockerSocket: this.node.dockerSocketPath, hostRoot: rig.hostRoot(this.node) },
      ...{ stateDir: rig.folder, store: rig.store, storeLocation: rig.location, credentials: rig.credentials },
      ...{ repositoryId, incarnation: 1, writerId, writerKey, writerKeys: deriveWriterKeys(writerKey, repositoryId) },
      ...{ epoch, mountedAt: null },
    };
  }

  static async up(): Promise<CacheNode> {
    const lab = await Lab.up({ nodes: 1, managers: 1, images: [nodeImage(), cacheImage] });
    const rig = await Rig.make();
    const made = new CacheNode(lab, rig, await rig.nodeId(lab.node("node1")));
    const server = ["redis-server", "--appendonly", "yes"];
    await made.docker("run", "-d", "--name", "cache", "-v", "data:/data", cacheImage.tag, ...server);
    await until(async () =>
      (await made.node.exec(["docker", "exec", "cache", "redis-cli", "ping"])).stdout.includes("PONG"),
    );
    await made.docker("exec", "cache", "redis-cli", "set", "word", "kept");
    return made;
  }

  async down(): Promise<void> {
    this.journal.close();
    await this.#lab.down();
    await this.rig.down();
  }

  async docker(...argv: string[]): Promise<string> {
    return (await this.node.run(["docker", ...argv])).trim();
  }

  /** The part that comes of it, written into `store` instead of the rig's where one is given. */
  async take(
    task: TaskOf<"volume"> | TaskOf<"dump">,
    {
      onProgress = () => undefined,
      store = this.context.store,
    }: Partial<Pick<Attempt, "onProgress"> & Pick<AgentContext, "store">> = {},
  ): Promise<Part> {
    const job = this.rig.job(task, { kind: "node", nodeId: this.context.writerId });
    const attempt = { jobId: job.id, number: 1, signal: patient, onProgress };
    const result = await backup(job, task, { ...this.context, store }, this.tools, attempt);
    if (!("part" in result)) throw new Error(result.kind);
    return result.part;
  }
}
