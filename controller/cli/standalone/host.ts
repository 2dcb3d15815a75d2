// What every standalone command needs: this machine's engine, and the way to do a job here.
import type { Command } from "commander";
import { randomBytes } from "node:crypto";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { taskSchema, type Task, type TaskKind, type TaskOf } from "../../../shared/contract/job.ts";
import type { TaskResultOf } from "../../../shared/contract/task-result.ts";
import type { JobProgress } from "../../../shared/contract/job-progress.ts";
import type { Undone } from "../../../shared/contract/keeper.ts";
import type { OnceInput } from "../../../shared/contract/once.ts";
import { toErrorRecord, type SkepError } from "../../../shared/errors.ts";
import { deriveWriterKey, type KeyBytes } from "../../../shared/repository/keys.ts";
import type { RepositoryObject } from "../../../shared/repository/repository-object.ts";
import type { StoreAccess, StoreOptions } from "../access.ts";
import type { Session } from "../session.ts";
import { askLocalNode, type LocalNode } from "./engine.ts";
import { Keeper, undoLeft, type KeeperPlace } from "./keeper.ts";
import { doOnce } from "./once.ts";
import { tellUndone } from "./undone.ts";

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
  /** Does one job here, in a process of its own; its result, or its error. */
  work: Work;
  /** The process that keeps volumes quiet, and does jobs with them: close it. What a killed run left is undone then, and told. */
  openKeeper: (onUndone: (undone: Undone) => void) => Promise<KeeperDoor>;
}

export interface KeeperDoor {
  work: Work;
  /** Lets all go. */
  close: () => Promise<void>;
}

export type Work = <K extends TaskKind>(kind: K, task: TaskOf<K>, given?: WorkOptions) => Promise<TaskResultOf<K>>;

export interface WorkOptions {
  /** From 1. */
  attempt?: number;
  identityKeys?: OnceInput["identityKeys"];
  onProgress?: (progress: JobProgress) => void;
  /** Instead of the session's; heeded by the keeper alone. */
  signal?: AbortSignal;
}

/** A job that takes longer is stuck. */
const jobHours = 7 * 24;

/** What a killed backup left quiet is undone first. `repositoryKey`: the controller key's, or what the identity opened. Throws SKEP_DOCKER_UNREACHABLE. */
export async function openHost(
  { signal, output }: Session,
  options: HostOptions,
  { location, credentials }: StoreAccess,
  repository: RepositoryObject,
  repositoryKey: KeyBytes,
): Promise<Host> {
  const node = await askLocalNode(options.dockerSocket, signal);
  const { repositoryId, incarnation, epoch } = repository;
  const writerKey = deriveWriterKey(repositoryKey, repositoryId, node.nodeId);
  const place = keeperPlace(options);
  await undoBefore(place, output);
  const inputOf = (task: Task, { attempt = 1, identityKeys }: WorkOptions): OnceInput => {
    const now = Date.now();
    return {
      job: {
        version: 1,
        id: `once-${randomBytes(8).toString("hex")}`,
        repositoryId,
        incarnation,
        target: { kind: "node", nodeId: node.nodeId },
        issuedAt: new Date(now).toISOString(),
        expiresAt: new Date(now + jobHours * 3_600_000).toISOString(),
        // As often as desk.ts and take-unit.ts try.
        maxAttempts: 3,
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
      ...place,
    };
  };
  return {
    node,
    work: async (kind, task, given = {}) => {
      const { onProgress = () => undefined } = given;
      return await doOnce(kind, inputOf(task, given), { signal, onProgress });
    },
    openKeeper: async (onUndone) => {
      const open = async (): Promise<Keeper> => {
        const keeper = await Keeper.open(place, {
          onWarning: (fault) => {
            onUndone({ wentOn: [], released: [], removed: [], faults: [fault] });
          },
        });
        onUndone(keeper.undone);
        return keeper;
      };
      let keeping = Promise.resolve(await open());
      return {
        work: async (kind, task, given = {}) => {
          const now = keeping;
          // One that was killed left things quiet: the next one undoes that at once.
          if ((await now).hasEnded && keeping === now) keeping = open();
          const keeper = await keeping;
          const { onProgress = () => undefined, signal: until = signal } = given;
          return await keeper.work(kind, inputOf(task, given), onProgress, until);
        },
        close: async () => {
          try {
            await (await keeping).close();
          } catch (error) {
            const fault = toErrorRecord(error);
            if (fault.code !== "SKEP_ONCE_FAILED") {
              onUndone({ wentOn: [], released: [], removed: [], faults: [fault] });
              return;
            }
            // What it left when it was killed is told by the next one.
            const undone = await undoLeft(place);
            if (undone !== null) onUndone(undone);
          }
        },
      };
    },
  };
}

/** While another backup is under way, what is quiet is its own. A journal that can't be opened stops no backup. */
async function undoBefore(place: KeeperPlace, output: Session["output"]): Promise<void> {
  try {
    const undone = await undoLeft(place);
    if (undone !== null) tellUndone(output, undone);
  } catch (error) {
    const fault = error as SkepError;
    if (isStateFault(fault)) output.warn(`what a killed backup may have left quiet is not known: ${fault.message}`);
    else if (fault.code !== "SKEP_STANDALONE_BUSY") throw error;
  }
}

/** Of the folder where the journal and the lock are to be: full, damaged, not this user's. */
export function isStateFault({ code }: SkepError): boolean {
  return code.startsWith("SKEP_STATE_");
}

/** As absolute paths. */
export function keeperPlace({ stateDir, dockerSocket }: Pick<HostOptions, "stateDir" | "dockerSocket">): KeeperPlace {
  return { stateDir: resolve(stateDir ?? defaultStateDir()), dockerSocket: resolve(dockerSocket) };
}

function defaultStateDir(): string {
  if (process.getuid?.() === 0) return "/var/lib/skep";
  const base = process.env["XDG_STATE_HOME"];
  return join(base?.startsWith("/") === true ? base : join(homedir(), ".local", "state"), "skep");
}
