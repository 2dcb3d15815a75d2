// Gives a dump back: from the store through this process to the standard input of a command in a running container, on no
// disk. What the command makes of it is its own matter, and can't be taken back; so it never is begun twice, and counts
// only where the whole dump was handed over and the engine says that the command ended with 0.
import type { ContainerCommand, RestoreKeys, TaskOf } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { SkepError } from "../shared/errors.ts";
import { openSnapshot, type Snapshot } from "../shared/repository/open/snapshot-reader.ts";
import { openStore } from "../shared/store/open.ts";
import { dumpFile } from "./backup-dump.ts";
import type { AgentContext, Attempt } from "./context.ts";
import { containerName } from "./docker-objects.ts";
import { findContainer, noContainer, runInContainer, type Ran } from "./quiesce/container-command.ts";
import type { RestoreKeyring } from "./restore-keys.ts";

/** Name of the container in which the command would run now. Throws SKEP_COMMAND_NO_CONTAINER. */
export async function whereToLoad(
  command: ContainerCommand,
  { docker }: Pick<AgentContext, "docker">,
  signal: AbortSignal,
): Promise<string> {
  const container = await findContainer(command, docker, signal);
  if (container === null) throw noContainer("load", command);
  return containerName(container);
}

/**
 * Throws SKEP_LOAD_FAILED where the command did not end with 0 or did not take all, SKEP_LOAD_TORN where it got less than
 * the whole dump, SKEP_COMMAND_NO_CONTAINER, and what the store throws before its first byte, or SKEP_MANIFEST_INVALID
 * where there is no dump in it: then nothing was begun.
 */
export async function loadDump(
  task: TaskOf<"restore-load">,
  context: AgentContext,
  { keyring, identityKeys }: { keyring: RestoreKeyring; identityKeys: RestoreKeys | null },
  attempt: Attempt,
): Promise<TaskResultOf<"restore-load">> {
  const { docker, repositoryId } = context;
  const { restoreId, command, manifest, refs, writerId, sourceBytes } = task;
  const { signal } = attempt;
  await whereToLoad(command, context, signal);
  const keys = identityKeys ?? (await keyring.open(restoreId, task.sealedKeys).catch(mayHaveBegun));
  // Forgotten before the command begins: another attempt at this job would find a database that has half of it.
  keyring.forget(restoreId);
  const { readCredentials } = keys;
  const store = readCredentials === undefined ? context.store : openStore(context.storeLocation, readCredentials);
  try {
    const snapshot = await openSnapshot({ store, repositoryId, writerId, manifest, refs, keys, signal });
    try {
      const dump = new DumpSource(snapshot, (doneBytes) => {
        attempt.onProgress({ phase: "load", doneBytes, totalBytes: sourceBytes, doneFiles: 0 });
      });
      await dump.open();
      const ran = await runInContainer("load", command, docker, signal, { stdin: dump.pieces() }).catch(
        (error: unknown) => {
          throw torn(dump, sourceBytes, error);
        },
      );
      judge(ran, dump, sourceBytes);
      return { kind: "restore-load", loadedBytes: dump.handedBytes, command: ran.record };
    } finally {
      snapshot.close();
    }
  } finally {
    if (store !== context.store) await store.close();
  }
}

/** The content of the one file of a dump, with what became of the handing over. */
class DumpSource {
  readonly #pieces: AsyncIterator<Uint8Array>;
  readonly #onBytes: (done: number) => void;
  #first: IteratorResult<Uint8Array> | null = null;
  handedBytes = 0;
  isWhole = false;
  /** Of the store, or of what lies in it. */
  fault: unknown = null;

  constructor(snapshot: Snapshot, onBytes: (done: number) => void) {
    this.#pieces = contentOf(snapshot)[Symbol.asyncIterator]();
    this.#onBytes = onBytes;
  }

  /** Reads the first of it, so that a store that gives nothing is known before anything is begun. */
  async open(): Promise<void> {
    this.#first = await this.#pieces.next();
  }

  async *pieces(): AsyncGenerator<Uint8Array> {
    try {
      for (
        let next = this.#first ?? (await this.#pieces.next());
        next.done !== true;
        next = await this.#pieces.next()
      ) {
        yield next.value;
        this.handedBytes += next.value.length;
        this.#onBytes(this.handedBytes);
      }
      this.isWhole = true;
    } catch (error) {
      this.fault = error;
      throw error;
    }
  }
}

/** Throws SKEP_MANIFEST_INVALID where there is none: nothing at all must not pass for an empty dump. Exported for its test. */
export async function* contentOf(snapshot: Pick<Snapshot, "entries" | "content">): AsyncGenerator<Uint8Array> {
  let isThere = false;
  for await (const entry of snapshot.entries()) {
    if (entry.path !== dumpFile || entry.type !== "file") continue;
    isThere = true;
    yield* snapshot.content(entry);
  }
  if (isThere) return;
  throw new SkepError({
    code: "SKEP_MANIFEST_INVALID",
    message: `the snapshot of the dump holds no file ${dumpFile}`,
    permanent: true,
    hint: "nothing was loaded; take the dump of another run",
  });
}

function judge({ record, fault }: Ran, dump: DumpSource, sourceBytes: number): void {
  if (dump.fault !== null) throw torn(dump, sourceBytes, dump.fault);
  if (fault?.code === "SKEP_COMMAND_NO_CONTAINER") throw fault;
  if (fault === null && dump.isWhole) return;
  const why = fault?.message ?? `load in ${record.container} ended with 0`;
  const said = (record.stderr.trim() === "" ? (record.stdout ?? "") : record.stderr).trim();
  const took = dump.isWhole ? "" : ` and took only ${dump.handedBytes} of ${sourceBytes} bytes`;
  throw new SkepError({
    code: "SKEP_LOAD_FAILED",
    message: `${why}${took}${said === "" ? "" : `; it wrote: ${said.slice(-2048)}`}`,
    permanent: true,
    hint: "it may have loaded a part: look at what it left, then load the dump again",
    ...(fault === null ? {} : { cause: fault }),
  });
}

function torn(dump: DumpSource, sourceBytes: number, cause: unknown): SkepError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new SkepError({
    code: "SKEP_LOAD_TORN",
    message: `the dump broke off after ${dump.handedBytes} of ${sourceBytes} bytes, and its command saw an end: ${why}`,
    permanent: true,
    hint: "the command may have kept what it got: load the whole dump again",
    cause,
  });
}

/** The agent was restarted: nobody knows any more whether the command was begun. */
function mayHaveBegun(error: unknown): never {
  if (!(error instanceof SkepError) || error.code !== "SKEP_RESTORE_KEYS_GONE") throw error;
  throw new SkepError({
    code: "SKEP_LOAD_TORN",
    message: `the dump may have been loaded in part: ${error.message}`,
    permanent: true,
    hint: "look at what is there, then load the whole dump again",
    cause: error,
  });
}
