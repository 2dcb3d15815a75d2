// An agent without Docker, as a process of its own, for tests of what the controller makes of agents: it takes signed
// jobs from a real queue, writes real objects to a real store and answers with sealed results; and it can be killed.
// Standard input: JSON of FakeAgentOptions. It beats, and writes one line to `log` for each job that it accepts.
import { DelayedError, UnrecoverableError, Worker } from "bullmq";
import { Redis } from "ioredis";
import { appendFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { Job } from "../../shared/contract/job.ts";
import type { TaskResult, TaskResultOf } from "../../shared/contract/task-result.ts";
import { agentKey, queueNames, queuePrefix, type Heartbeat } from "../../shared/contract/queues.ts";
import { openJob, sealResult } from "../../shared/contract/signed-job.ts";
import { encodeErrorMessage, SkepError } from "../../shared/errors.ts";
import { digest } from "../../shared/repository/blake3.ts";
import { deriveWriterKey, deriveWriterKeys } from "../../shared/repository/keys.ts";
import { layout, newObjectId } from "../../shared/repository/layout.ts";
import type { PackRef } from "../../shared/repository/refs.ts";
import { writeRefs } from "../../shared/repository/refs-writer.ts";
import type { Part, RunNode, StoredObject, VolumeFacts } from "../../shared/repository/run.ts";
import { openStore } from "../../shared/store/open.ts";
import type { RedisAddress } from "../../controller/redis.ts";

type Forgets = "archive" | "manifest" | "pack" | "half a pack";

export interface FakeAgentOptions {
  redis: RedisAddress;
  nodeId: string;
  manager: boolean;
  repositoryId: string;
  controllerPublicKey: string;
  /** base64; the test's, so that the agent derives its own key. */
  repositoryKey: string;
  storeUrl: string;
  log: string;
  nodes: RunNode[];
  /** Volume names of this node; [name, sharedId]. */
  volumes: [string, string | null][];
  images?: TaskResultOf<"node">["images"];
  services?: TaskResultOf<"definitions">["services"];
  /** What its watches saw. */
  broken?: TaskResultOf<"prove">["broken"];
  /** What a job does beside: by `kind` or `volume:NAME`. */
  does: Record<
    string,
    { sleepMs?: number; fails?: "passing" | "lasting"; forgets?: Forgets; stops?: boolean; mute?: true }
  >;
}

async function* of<T>(value: T): AsyncGenerator<T> {
  yield await Promise.resolve(value);
}

const overHold = (holdId: string): SkepError =>
  new SkepError({ code: "SKEP_HOLD_OVER", message: `${holdId} was released`, permanent: true, hint: "test" });

const progress = { phase: "reads", doneBytes: 1, totalBytes: 2, doneFiles: 1 };

async function main(options: FakeAgentOptions): Promise<void> {
  const { nodeId, repositoryId } = options;
  const store = openStore({ url: options.storeUrl }, null);
  const writerKey = deriveWriterKey(Buffer.from(options.repositoryKey, "base64"), repositoryId, nodeId);
  const { result: resultKey, seal: sealKey } = deriveWriterKeys(writerKey, repositoryId);
  const redis = new Redis({ ...options.redis, maxRetriesPerRequest: null });
  redis.on("error", () => undefined);

  const put = async (key: string, content: string): Promise<StoredObject> => {
    const bytes = Buffer.from(content);
    await store.put(key, bytes);
    return { key, sizeBytes: bytes.length, digest: digest(bytes), versionId: null };
  };
  const part = (kind: Part["kind"], name: string): Part => ({
    ...{ kind, name, nodeId, hostname: nodeId, status: "done", attempt: 1, warnings: [], warningsLeftOut: 0 },
    startedAt: new Date().toISOString(),
    endedAt: new Date().toISOString(),
  });
  const factsOf = (name: string): VolumeFacts => ({ name, driver: "local", options: {}, labels: {}, scope: "local" });

  /** What the real agent's journal has. */
  const released = new Set<string>();
  const inPlace = new Map<string, TaskResultOf<"restore-list">["restores"][number]>();

  const carry = async ({ task }: Job, forgets: Forgets | undefined): Promise<TaskResult> => {
    const archive = async (run: string): Promise<StoredObject[]> => {
      const object = await put(layout.archive(run, newObjectId()), `archive by ${nodeId}`);
      if (forgets === "archive") await store.delete([object.key]);
      return [object];
    };
    const snapshotOf = async (what: string): Promise<{ manifest: StoredObject; refs: StoredObject }> => {
      const runId = "runId" in task ? task.runId : "";
      const manifest = await put(layout.manifest(runId, newObjectId()), `manifest of ${what}`);
      const bytes = Buffer.from(`pack of ${nodeId} ${what}`);
      const pack = digest(bytes);
      await store.put(layout.pack(pack), bytes);
      const line = { pack, sizeBytes: bytes.length, headerBytes: 1, epoch: 1 };
      const chunks: PackRef["chunks"] = [[digest(Buffer.from("chunk")), 0, 1, 1]];
      const place = { store, repositoryId, writerId: nodeId, sealKey };
      const { signal } = new AbortController();
      const { refs } = await writeRefs(place, runId, 1, of({ ...line, chunks }), signal);
      if (forgets === "manifest") await store.delete([manifest.key]);
      if (forgets === "pack") await store.delete([layout.pack(pack)]);
      if (forgets === "half a pack") await store.put(layout.pack(pack), bytes.subarray(1));
      return { manifest, refs };
    };
    switch (task.kind) {
      case "raft":
        return { kind: "raft", part: { ...part("raft", "raft"), archive: await archive(task.runId) } };
      case "definitions": {
        const done = { ...part("definitions", "definitions"), archive: await archive(task.runId) };
        return {
          kind: "definitions",
          part: done,
          clusterId: "cluster1",
          nodes: options.nodes,
          services: options.services ?? [],
        };
      }
      case "node": {
        const volumes = options.volumes.map(([name, sharedId]) => ({
          facts: factsOf(name),
          sharedId,
          usedBy: [],
          users: [],
        }));
        return { kind: "node", part: part("node", nodeId), volumes, images: options.images ?? [], notCovered: [] };
      }
      case "image": {
        const image = { id: task.imageId, names: task.names, digests: [], architecture: "amd64", os: "linux" };
        const left = { ...part("image", task.names[0] ?? ""), image };
        const isPullable = task.unlessPullable && task.names.some((name) => name.startsWith("public/"));
        return { kind: "image", part: isPullable ? left : { ...left, ...(await snapshotOf(task.imageId)) } };
      }
      case "volume": {
        const { manifest, refs } = await snapshotOf(task.volume);
        const name = `${nodeId}/${task.volume}`;
        const consistency = task.quiet === null ? "not-atomic" : "quiet";
        const facts = { volume: factsOf(task.volume), consistency } as const;
        return { kind: "volume", part: { ...part("volume", name), ...facts, manifest, refs } };
      }
      case "dump": {
        const { command, load } = task;
        const objects = await snapshotOf(command.volume);
        const done = { ...part("dump", `${nodeId}/${command.volume}`), volume: factsOf(command.volume), ...objects };
        if (load === null) return { kind: "dump", part: done };
        const { argv, container, user, timeoutSeconds } = load;
        return { kind: "dump", part: { ...done, load: { argv, container, user, timeoutSeconds } } };
      }
      case "pause":
        return {
          kind: "pause",
          paused: task.volumes.map((volume) => `user-of-${volume}`),
          stopped: task.stops ?? [],
          commands: [],
        };
      case "unpause":
        return { kind: "unpause", quiet: [{ name: `at-${nodeId}`, how: "pause", quietMs: 5 }], commands: [] };
      case "watch":
        return { kind: "watch" };
      case "prove":
        return { kind: "prove", broken: options.broken ?? [] };
      case "restore-prepare": {
        const usedBy = [{ container: "db.1", serviceId: "dbservice" }];
        const recipient = `age1${"q".repeat(58)}`;
        const loadsIn = task.load === undefined ? {} : { loadsIn: "db.1" };
        return { kind: "restore-prepare", recipient, target: "exists", freeBytes: 1, usedBy, ...loadsIn };
      }
      case "hold":
        // As the real agent's records tell it.
        if (released.has(task.holdId)) throw new UnrecoverableError(encodeErrorMessage(overHold(task.holdId)));
        return {
          kind: "hold",
          held: task.serviceIds.map((serviceId) => ({ serviceId, name: "db", replicas: 1 })),
          skipped: [],
        };
      case "release":
        released.add(task.holdId);
        return { kind: "release", released: ["db"], leftAlone: [], rolledBack: [], quiet: [] };
      case "rollback":
        return { kind: "rollback", service: task.service, fromRecord: true };
      case "restore-volume": {
        const { restoreId, targetName, order } = task;
        inPlace.set(restoreId, { restoreId, volume: targetName, order: order ?? null });
        const counts = { files: 1, directories: 1, restoredBytes: 1 };
        return { kind: "restore-volume", ...counts, keptOld: true, warnings: [] };
      }
      case "restore-load": {
        const container = task.command.container ?? "whichever is first";
        const command = { step: "load" as const, container, exitCode: 0, stderr: "" };
        return { kind: "restore-load", loadedBytes: task.sourceBytes, command };
      }
      case "restore-image":
        return { kind: "restore-image", id: task.image.id, present: false };
      case "restore-list":
        return { kind: "restore-list", restores: [...inPlace.values()] };
      case "restore-undo":
        return { kind: "restore-undo", volume: "a" };
      case "restore-discard":
        return { kind: "restore-discard", volume: "a", freedBytes: 1 };
    }
  };

  const doJob = async (id: string, data: unknown, progress: () => Promise<void>): Promise<object> => {
    const opened = openJob(data, {
      ...{ controllerPublicKey: options.controllerPublicKey, repositoryId, incarnation: 1, nodeId },
      ...{ isManager: options.manager, now: Date.now() },
    });
    const what = opened.task.kind === "volume" ? `volume:${opened.task.volume}` : opened.task.kind;
    const does = options.does[what] ?? {};
    appendFileSync(options.log, `${nodeId} ${what}\n`);
    if (does.stops === true) throw new DelayedError();
    await progress();
    await sleep(does.sleepMs ?? 0);
    const no = new SkepError({ code: "SKEP_TEST_FAILS", message: `${what} fails`, permanent: false, hint: "test" });
    if (does.fails === "passing") throw new Error(encodeErrorMessage(no));
    if (does.fails === "lasting") throw new UnrecoverableError(encodeErrorMessage(no));
    const result = await carry(opened, does.forgets);
    // It did it, and was killed before it could tell.
    if (does.mute === true) throw new UnrecoverableError(encodeErrorMessage(no));
    return sealResult(id, result, nodeId, resultKey);
  };

  // As the real agent's desk and journal do: a job that the queue lost sight of gets the end of the first run of it.
  const running = new Map<string, Promise<object>>();
  const take = (queue: string): Worker =>
    new Worker(
      queue,
      async (job, token) => {
        const id = job.id ?? "";
        const run = running.get(id) ?? doJob(id, job.data, () => job.updateProgress(progress));
        running.set(id, run);
        try {
          return await run;
        } catch (error) {
          running.delete(id);
          if (error instanceof DelayedError) await job.moveToDelayed(Date.now() + 500, token);
          throw error;
        }
      },
      {
        connection: redis,
        prefix: queuePrefix,
        concurrency: 16,
        lockDuration: 1000,
        stalledInterval: 300,
        maxStalledCount: 1000,
        drainDelay: 1,
      },
    ).on("error", () => undefined);
  take(queueNames.node(nodeId));
  if (options.manager) take(queueNames.managers);

  for (;;) {
    const heartbeat: Heartbeat = {
      ...{ nodeId, hostname: nodeId, role: options.manager ? "manager" : "worker", leader: options.manager },
      ...{ skepVersion: "0.1.0", engineVersion: "26.1.5", at: new Date().toISOString(), problems: [] },
    };
    await redis.set(agentKey(nodeId), JSON.stringify(heartbeat), "PX", 1000);
    await sleep(200);
  }
}

await main(JSON.parse(await text(process.stdin)) as FakeAgentOptions);
