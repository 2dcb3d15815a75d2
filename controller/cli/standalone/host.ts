// What every standalone command needs: this machine's engine, and the way to do a job here.
import type { Command } from "commander";
import { randomBytes } from "node:crypto";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import {
  taskSchema,
  type JobProgress,
  type TaskKind,
  type TaskOf,
  type TaskResultOf,
} from "../../../shared/contract/job.ts";
import type { OnceInput } from "../../../shared/contract/once.ts";
import { deriveWriterKey, type KeyBytes } from "../../../shared/repository/keys.ts";
import type { RepositoryObject } from "../../../shared/repository/repository-object.ts";
import type { StoreAccess, StoreOptions } from "../access.ts";
import type { Session } from "../session.ts";
import { askLocalNode, type LocalNode } from "./engine.ts";
import { doOnce } from "./once.ts";

export interface HostOptions extends StoreOptions {
  standalone?: boolean;
  stateDir?: string;
  dockerSocket: string;
  hostRoot: string;
}

export function addHostOptions(command: Command): Command {
  return command
    .option("--standalone", "do it on this machine's Docker, with neither controller nor Redis")
    .option("--state-dir <folder>", "standalone: where the cache and the journal of restores are kept")
    .option("--docker-socket <path>", "standalone: the engine's socket", "/var/run/docker.sock")
    .option("--host-root <folder>", "standalone: where the host's / is seen, from within a container", "/");
}

export interface Host {
  node: LocalNode;
  /** Does one job here; its result, or its error. */
  work<K extends TaskKind>(kind: K, task: TaskOf<K>, given?: WorkOptions): Promise<TaskResultOf<K>>;
}

export interface WorkOptions {
  /** From 1. */
  attempt?: number;
  identityKeys?: OnceInput["identityKeys"];
  onProgress?: (progress: JobProgress) => void;
}

/** A job that takes longer is stuck. */
const jobHours = 7 * 24;

/** `repositoryKey`: the controller key's, or what the identity opened. Throws SKEP_DOCKER_UNREACHABLE. */
export async function openHost(
  { signal }: Session,
  options: HostOptions,
  { location, credentials }: StoreAccess,
  repository: RepositoryObject,
  repositoryKey: KeyBytes,
): Promise<Host> {
  const node = await askLocalNode(options.dockerSocket, signal);
  const { repositoryId, incarnation, epoch } = repository;
  const writerKey = deriveWriterKey(repositoryKey, repositoryId, node.nodeId);
  const stateDir = resolve(options.stateDir ?? defaultStateDir());
  return {
    node,
    work: async (kind, task, { attempt = 1, identityKeys, onProgress = () => undefined } = {}) => {
      const now = Date.now();
      const input: OnceInput = {
        job: {
          version: 1,
          id: `once-${randomBytes(8).toString("hex")}`,
          repositoryId,
          incarnation,
          target: { kind: "node", nodeId: node.nodeId },
          issuedAt: new Date(now).toISOString(),
          expiresAt: new Date(now + jobHours * 3_600_000).toISOString(),
          maxAttempts: 10,
          task: taskSchema.parse(task),
        },
        attempt,
        writerId: node.nodeId,
        writerKey: Buffer.from(writerKey).toString("base64"),
        epoch,
        store: location,
        credentials,
        ...(identityKeys === undefined ? {} : { identityKeys }),
        hostRoot: resolve(options.hostRoot),
        stateDir,
        dockerSocket: resolve(options.dockerSocket),
      };
      return await doOnce(kind, input, { signal, onProgress });
    },
  };
}

function defaultStateDir(): string {
  if (process.getuid?.() === 0) return "/var/lib/skep";
  const base = process.env["XDG_STATE_HOME"];
  return join(base?.startsWith("/") === true ? base : join(homedir(), ".local", "state"), "skep");
}
