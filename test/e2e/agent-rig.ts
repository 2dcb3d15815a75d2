// An agent of a lab's node as a process on the host, with a repository of its own and a stand-in for the controller
// that signs jobs and answers enrolments: to see what the agent does, also with what a real controller never sends.
import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue, QueueEvents, Worker } from "bullmq";
import { nodeIdentity } from "../../agent/node-identity.ts";
import { connectDocker } from "../../agent/docker.ts";
import type { Job, JobTarget, RestoreKeys, Task, TaskOf } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { onceLineSchema, type OnceInput, type OnceLine } from "../../shared/contract/once.ts";
import { enrolmentRequestSchema, queueNames, queuePrefix, type EnrolmentAnswer } from "../../shared/contract/queues.ts";
import { openResult, signJob } from "../../shared/contract/signed-job.ts";
import { decodeErrorMessage, fromErrorRecord, SkepError, type ErrorRecord } from "../../shared/errors.ts";
import { encryptAge } from "../../shared/repository/age.ts";
import { createRepository, type CreatedRepository } from "../../shared/repository/create.ts";
import { deriveWriterKey, deriveWriterKeys } from "../../shared/repository/keys.ts";
import { newRunId } from "../../shared/repository/layout.ts";
import { readArchive } from "../../shared/repository/open/archive-reader.ts";
import { collectRestoreKeys } from "../../shared/repository/open/file-keys.ts";
import { openAsOperator } from "../../shared/repository/open/operator.ts";
import { encodeRepositoryObject } from "../../shared/repository/repository-object.ts";
import type { Part } from "../../shared/repository/run.ts";
import { signedSchema, signPayload } from "../../shared/repository/signature.ts";
import type { StoreCredentials, StoreLocation } from "../../shared/store/location.ts";
import { createStore, openStore } from "../../shared/store/open.ts";
import type { Store } from "../../shared/store/store.ts";
import type { RedisAddress } from "../lab/redis.ts";
import type { LabNode } from "../lab/node.ts";

const projectRoot = join(import.meta.dirname, "..", "..");

export class Rig {
  readonly folder: string;
  readonly location: StoreLocation;
  readonly credentials: StoreCredentials | null;
  readonly store: Store;
  readonly repository: CreatedRepository;

  private constructor(
    fields: Omit<Rig, "down" | "nodeId" | "writerKey" | "once" | "restoreKeys" | "archiveOf" | "job" | "hostRoot">,
  ) {
    this.folder = fields.folder;
    this.location = fields.location;
    this.credentials = fields.credentials;
    this.store = fields.store;
    this.repository = fields.repository;
  }

  /** A repository in a folder, or where `location` says. */
  static async make(location?: StoreLocation, credentials: StoreCredentials | null = null): Promise<Rig> {
    const folder = await mkdtemp(join(tmpdir(), "skep-agent-rig-"));
    const at = location ?? { url: `file://${folder}/store` };
    const store = location === undefined ? await createStore(at, null) : openStore(at, credentials);
    const repository = await createRepository({ store, operatorName: "anna", now: Date.now() });
    return new Rig({ folder, location: at, credentials, store, repository });
  }

  async down(): Promise<void> {
    await this.store.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  async nodeId(node: LabNode): Promise<string> {
    return nodeIdentity(await connectDocker(node.dockerSocketPath).info()).nodeId;
  }

  /** The node's / with all that is mounted in it, as a bind of / is in an agent's container. */
  hostRoot(node: LabNode): string {
    return dirname(node.hostPath("/run"));
  }

  writerKey(nodeId: string): Uint8Array {
    const repositoryKey = Buffer.from(this.repository.controllerKey.repositoryKey, "base64");
    return deriveWriterKey(repositoryKey, this.repository.repositoryObject.repositoryId, nodeId);
  }

  /** Its files, by path. */
  async archiveOf(part: Part): Promise<Map<string, string>> {
    const operator = await openAsOperator(this.store, this.repository.identityFile);
    if (part.archive === undefined || part.epoch === undefined) throw new Error("the part has no archive");
    const identity = await operator.epochIdentity(part.epoch);
    const files = new Map<string, string>();
    for await (const { path, content } of readArchive({ store: this.store, archive: part.archive, identity })) {
      const pieces: Uint8Array[] = [];
      for await (const piece of content) pieces.push(piece);
      files.set(path, Buffer.concat(pieces).toString("utf8"));
    }
    return files;
  }

  job(task: Task, target: JobTarget, change: Partial<Job> = {}): Job {
    return {
      version: 1,
      id: randomUUID(),
      repositoryId: this.repository.repositoryObject.repositoryId,
      incarnation: 1,
      target,
      issuedAt: new Date().toISOString(),
      expiresAt: new Date(Date.now() + 600_000).toISOString(),
      maxAttempts: 3,
      task,
      ...change,
    };
  }

  /** agent/once.ts with one task on the node; its result, or throws its error. */
  async once<T extends Task>(
    node: LabNode,
    task: T,
    more: {
      identityKeys?: RestoreKeys;
      change?: Partial<OnceInput>;
      onLine?: (line: OnceLine, child: ChildProcess) => void;
    } = {},
  ): Promise<TaskResultOf<T["kind"]>> {
    const nodeId = await this.nodeId(node);
    const input: OnceInput = {
      job: this.job(task, { kind: "node", nodeId }),
      writerId: nodeId,
      writerKey: Buffer.from(this.writerKey(nodeId)).toString("base64"),
      epoch: this.repository.repositoryObject.epoch,
      store: this.location,
      credentials: this.credentials,
      ...(more.identityKeys === undefined ? {} : { identityKeys: more.identityKeys }),
      hostRoot: this.hostRoot(node),
      stateDir: join(this.folder, `state-${node.name}`),
      dockerSocket: node.dockerSocketPath,
      ...more.change,
    };
    const child = spawn(process.execPath, [join(projectRoot, "agent", "once.ts")], { stdio: ["pipe", "pipe", "pipe"] });
    const stderr: Buffer[] = [];
    child.stderr.on("data", (bytes: Buffer) => {
      stderr.push(bytes);
    });
    child.stdin.end(JSON.stringify(input));
    let last: OnceLine | null = null;
    let rest = "";
    for await (const text of child.stdout.setEncoding("utf8") as AsyncIterable<string>) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        last = onceLineSchema.parse(JSON.parse(line));
        more.onLine?.(last, child);
      }
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    if (last !== null && "result" in last) return last.result as TaskResultOf<T["kind"]>;
    if (last !== null && "error" in last) throw fromErrorRecord(last.error as ErrorRecord);
    throw new Error(
      `once.ts ended with ${child.exitCode ?? child.signalCode} and no result: ${Buffer.concat(stderr).toString()}`,
    );
  }

  /** What an operator's CLI gives to the agent for one part. */
  async restoreKeys(part: Part): Promise<RestoreKeys> {
    const operator = await openAsOperator(this.store, this.repository.identityFile);
    return collectRestoreKeys(this.store, operator, part);
  }
}

export const newRun = (): string => newRunId(Date.now());

export function newRestoreId(): string {
  return randomBytes(6).toString("hex");
}

export function volumeTask(volume: string): TaskOf<"volume"> {
  return { kind: "volume", runId: newRun(), volume, quiet: null, excludePaths: [], maxBytesPerSecond: 0 };
}

export async function until(condition: () => Promise<boolean> | boolean, timeoutMs = 60_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`it did not come to that within ${timeoutMs} ms`);
    // Most conditions ask by a command of docker: often asked, they take a processor from what is waited for.
    await sleep(250);
  }
}

/** The task that restores a volume part. */
export function restoreTask(
  part: Part,
  restoreId: string,
  targetName: string,
  sealedKeys = "",
): TaskOf<"restore-volume"> {
  const { volume, manifest, refs, totals } = part;
  if (volume === undefined || manifest === undefined || refs === undefined) throw new Error("no volume part");
  const sourceBytes = totals?.sourceBytes ?? 0;
  return {
    kind: "restore-volume",
    restoreId,
    volume,
    targetName,
    sourceBytes,
    manifest,
    refs,
    writerId: part.nodeId,
    sealedKeys,
  };
}

/** The error of a promise that must fail, as a SkepError. */
export async function failureOf(promise: Promise<unknown>): Promise<SkepError> {
  const error: unknown = await promise.then(
    () => new Error("it did not fail"),
    (thrown: unknown) => thrown,
  );
  if (error instanceof SkepError) return error;
  throw error;
}

/** The agent's daemon on a node, and a stand-in for its controller. */
export class Daemon {
  readonly #rig: Rig;
  readonly #redis: RedisAddress;
  readonly #environment: Record<string, string>;
  readonly nodeId: string;
  readonly #enrolments: Worker;
  readonly #queues = new Map<string, { queue: Queue; events: QueueEvents }>();
  #child: ChildProcess | null = null;
  log = "";

  private constructor(rig: Rig, redis: RedisAddress, nodeId: string, environment: Record<string, string>) {
    this.#rig = rig;
    this.#redis = redis;
    this.nodeId = nodeId;
    this.#environment = environment;
    this.#enrolments = new Worker(queueNames.enrolment, ({ data }) => this.#enrol(data), this.#connection());
    this.#enrolments.on("error", () => undefined); // Redis is stopped on purpose by some tests
  }

  /** `more`: of its environment. */
  static async make(
    rig: Rig,
    node: LabNode,
    redis: RedisAddress,
    more: Readonly<Record<string, string>> = {},
  ): Promise<Daemon> {
    const folder = await mkdtemp(join(rig.folder, "daemon-"));
    const { repositoryObject, identityFile } = rig.repository;
    const cluster = {
      repository: repositoryObject.repositoryId,
      rootPublicKey: identityFile.rootPublicKey,
      store: rig.location,
      policy: {},
    };
    await writeFile(join(folder, "skep.yaml"), JSON.stringify(cluster));
    await writeFile(join(folder, "store.json"), JSON.stringify(rig.credentials ?? {}), { mode: 0o600 });
    await writeFile(join(folder, "redis.password"), redis.password, { mode: 0o600 });
    const state = join(folder, "state");
    await mkdir(state);
    return new Daemon(rig, redis, await rig.nodeId(node), {
      PATH: process.env["PATH"] ?? "",
      SKEP_CONFIG_FILE: join(folder, "skep.yaml"),
      SKEP_STORE_CREDENTIALS_FILE: join(folder, "store.json"),
      SKEP_REDIS_HOST: redis.host,
      SKEP_REDIS_PORT: String(redis.port),
      SKEP_REDIS_PASSWORD_FILE: join(folder, "redis.password"),
      SKEP_STATE_DIR: state,
      SKEP_HOST_ROOT: rig.hostRoot(node),
      SKEP_DOCKER_SOCKET: node.dockerSocketPath,
      ...more,
    });
  }

  get environment(): Readonly<Record<string, string>> {
    return this.#environment;
  }

  start(): void {
    const child = spawn(process.execPath, [join(projectRoot, "agent", "main.ts")], {
      env: this.#environment,
      stdio: ["ignore", "ignore", "pipe"],
    });
    child.stderr.on("data", (bytes: Buffer) => {
      this.log += bytes.toString("utf8");
    });
    this.#child = child;
  }

  /** Its exit code, or the signal that ended it. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | string | null> {
    const child = this.#child;
    this.#child = null;
    if (child === null) return null;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode ?? child.signalCode;
    child.kill(signal);
    const [code, endedBy] = (await once(child, "exit")) as [number | null, string | null];
    return code ?? endedBy;
  }

  async down(): Promise<void> {
    await this.stop("SIGKILL");
    await this.#enrolments.close();
    for (const { queue, events } of this.#queues.values()) await Promise.allSettled([queue.close(), events.close()]);
  }

  #connection(): { connection: RedisAddress & { maxRetriesPerRequest: null }; prefix: string } {
    return { connection: { ...this.#redis, maxRetriesPerRequest: null }, prefix: queuePrefix };
  }

  async #enrol(data: unknown): Promise<EnrolmentAnswer> {
    const { nodeId, recipient } = enrolmentRequestSchema.parse(data);
    const { repositoryObject, identityFile } = this.#rig.repository;
    const object = encodeRepositoryObject(repositoryObject, identityFile.rootPrivateKey);
    const sealed = await encryptAge(this.#rig.writerKey(nodeId), [recipient]);
    const grant = {
      nodeId,
      recipient,
      sealedWriterKey: Buffer.from(sealed).toString("base64"),
      issuedAt: new Date().toISOString(),
    };
    const repository = signedSchema.parse(JSON.parse(Buffer.from(object).toString("utf8")));
    return { repository, grant: this.#sign(JSON.stringify(grant)) };
  }

  #sign(payload: string): EnrolmentAnswer["grant"] {
    return signPayload("skep/v1 job", payload, this.#rig.repository.controllerKey.signingKey);
  }

  #queue(name: string): { queue: Queue; events: QueueEvents } {
    const known = this.#queues.get(name);
    if (known !== undefined) return known;
    const made = { queue: new Queue(name, this.#connection()), events: new QueueEvents(name, this.#connection()) };
    made.queue.on("error", () => undefined);
    made.events.on("error", () => undefined);
    this.#queues.set(name, made);
    return made;
  }

  /** Puts data into a queue as it is; what comes of it as the agent's answer. */
  async push(queueName: string, id: string, data: unknown, attempts = 3): Promise<unknown> {
    const { queue, events } = this.#queue(queueName);
    await events.waitUntilReady();
    const job = await queue.add("task", data, { jobId: id, attempts, backoff: { type: "fixed", delay: 500 } });
    try {
      return (await job.waitUntilFinished(events)) as unknown;
    } catch (error) {
      throw fromErrorRecord(decodeErrorMessage((error as Error).message));
    }
  }

  /** Orders a task as the controller does; the opened result, or throws the agent's error. */
  async order<T extends Task>(task: T, change: Partial<Job> = {}): Promise<TaskResultOf<T["kind"]>> {
    const job = this.#rig.job(task, { kind: "node", nodeId: this.nodeId }, change);
    const queueName = job.target.kind === "managers" ? queueNames.managers : queueNames.node(this.nodeId);
    const answer = await this.push(
      queueName,
      job.id,
      signJob(job, this.#rig.repository.controllerKey.signingKey),
      job.maxAttempts,
    );
    const { repositoryId } = this.#rig.repository.repositoryObject;
    const { result } = openResult(
      answer,
      job.id,
      (writerId) => deriveWriterKeys(this.#rig.writerKey(writerId), repositoryId).result,
    );
    return result as TaskResultOf<T["kind"]>;
  }

  /** Takes a job out of the queue's memory, as somebody who wants to push a copy would. */
  async forgetJob(queueName: string, id: string): Promise<void> {
    await this.#queue(queueName).queue.remove(id);
  }
}
