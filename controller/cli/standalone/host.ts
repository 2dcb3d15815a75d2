// What every standalone command needs: the repository opened with the kit's controller key, this machine's engine,
// and the way to do a job here.
import type { Command } from "commander";
import { randomBytes } from "node:crypto";
import { homedir } from "node:os";
import { join } from "node:path";
import {
  taskSchema,
  type JobProgress,
  type TaskKind,
  type TaskOf,
  type TaskResultOf,
} from "../../../shared/contract/job.ts";
import type { OnceInput } from "../../../shared/contract/once.ts";
import { SkepError } from "../../../shared/errors.ts";
import type { ControllerKey } from "../../../shared/repository/controller-key.ts";
import { deriveWriterKey } from "../../../shared/repository/keys.ts";
import { openStore } from "../../../shared/store/open.ts";
import { accessControllerKey, accessStore, type StoreAccess, type StoreOptions } from "../access.ts";
import { openWithControllerKey, readingOptions, type OpenedCatalogue } from "../catalogue-access.ts";
import type { Session } from "../session.ts";
import { askLocalNode, type LocalNode } from "./engine.ts";
import { doOnce } from "./once.ts";

export interface HostOptions extends StoreOptions {
  stateDir?: string;
  dockerSocket: string;
}

export function addHostOptions(command: Command): Command {
  return command
    .option("--standalone", "do it on this machine's Docker, with neither controller nor Redis")
    .option("--state-dir <folder>", "standalone: where the cache and the journal of restores are kept")
    .option("--docker-socket <path>", "standalone: the engine's socket", "/var/run/docker.sock");
}

export interface Host extends OpenedCatalogue {
  node: LocalNode;
  controllerKey: ControllerKey;
  access: StoreAccess;
  /** Does one job here; the result, or its error. `attempt` from 1. */
  work<K extends TaskKind>(kind: K, task: TaskOf<K>, given?: WorkOptions): Promise<TaskResultOf<K>>;
}

export interface WorkOptions {
  attempt?: number;
  identityKeys?: OnceInput["identityKeys"];
  onProgress?: (progress: JobProgress) => void;
}

/** A job that takes longer is stuck. */
const jobHours = 7 * 24;

/** Opens everything for as long as `use` takes. */
export async function withHost<T>(session: Session, options: HostOptions, use: (host: Host) => Promise<T>): Promise<T> {
  const { signal } = session;
  const access = await accessStore(session, options);
  const controllerKey = await accessControllerKey(options);
  if (controllerKey === null) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "a standalone run needs the kit that `skep init` wrote",
      permanent: true,
      hint: "skep init --store file:///srv/backups --out skep-kit, then --kit skep-kit",
    });
  }
  const node = await askLocalNode(options.dockerSocket, signal);
  const store = openStore(access.location, access.credentials);
  try {
    const opened = await openWithControllerKey(store, controllerKey, readingOptions(session));
    const { repository } = opened;
    const { repositoryId, incarnation, epoch } = repository;
    const repositoryKey = Buffer.from(controllerKey.repositoryKey, "base64");
    const writerKey = Buffer.from(deriveWriterKey(repositoryKey, repositoryId, node.nodeId)).toString("base64");
    const stateDir = options.stateDir ?? defaultStateDir();
    return await use({
      ...opened,
      node,
      controllerKey,
      access,
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
          writerKey,
          epoch,
          store: access.location,
          credentials: access.credentials,
          ...(identityKeys === undefined ? {} : { identityKeys }),
          hostRoot: "/",
          stateDir,
          dockerSocket: options.dockerSocket,
        };
        return await doOnce(kind, input, { signal, onProgress });
      },
    });
  } finally {
    await store.close();
  }
}

function defaultStateDir(): string {
  if (process.getuid?.() === 0) return "/var/lib/skep";
  const base = process.env["XDG_STATE_HOME"];
  return join(base?.startsWith("/") === true ? base : join(homedir(), ".local", "state"), "skep");
}
