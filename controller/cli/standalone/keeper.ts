// The CLI's side of agent/keeper.ts: the process that keeps this machine's volumes quiet while they are taken. When this
// one ends, whatever ends it, the keeper lets all go.
import { spawn, type ChildProcessByStdio } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { TaskKind } from "../../../shared/contract/job.ts";
import type { TaskResult, TaskResultOf } from "../../../shared/contract/task-result.ts";
import type { JobProgress } from "../../../shared/contract/job-progress.ts";
import {
  decodeKeeperLine,
  standaloneJournal,
  UnreadLine,
  type KeeperLine,
  type KeeperOrder,
  type Undone,
} from "../../../shared/contract/keeper.ts";
import type { OnceInput } from "../../../shared/contract/once.ts";
import { SkepError } from "../../../shared/errors.ts";
import { nodeFlags } from "../../../shared/node-flags.ts";

const program = fileURLToPath(new URL("../../../agent/keeper.ts", import.meta.url));
const maxStderrBytes = 4096;

interface Waiting {
  kind: TaskKind;
  onProgress: (progress: JobProgress) => void;
  resolve: (result: TaskResult) => void;
  reject: (error: unknown) => void;
}

/** Where a standalone command keeps its state on this machine. */
export interface KeeperPlace {
  stateDir: string;
  dockerSocket: string;
}

interface KeeperOptions {
  /** Of what it can't help, and what stops it in nothing. */
  onWarning?: (warning: Undone["faults"][number]) => void;
  /** For tests. */
  programPath?: string;
}

export class Keeper {
  /** What it found, and undid, of a run that was killed. */
  readonly undone: Undone;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<SkepError | null>;
  readonly #waiting: Map<number, Waiting>;
  #ids = 0;

  private constructor(fields: {
    undone: Undone;
    child: ChildProcessByStdio<Writable, Readable, Readable>;
    ended: Promise<SkepError | null>;
    waiting: Map<number, Waiting>;
  }) {
    this.undone = fields.undone;
    this.#child = fields.child;
    this.#ended = fields.ended;
    this.#waiting = fields.waiting;
  }

  /** Close it. Throws SKEP_STANDALONE_BUSY, SKEP_STATE_DAMAGED, SKEP_ONCE_FAILED. */
  static async open(
    place: KeeperPlace,
    { onWarning = () => undefined, programPath = program }: KeeperOptions = {},
  ): Promise<Keeper> {
    const child = spawn(process.execPath, [...nodeFlags, programPath], {
      stdio: ["pipe", "pipe", "pipe"],
      // What interrupts this process must not keep it from letting go.
      detached: true,
    });
    const waiting = new Map<number, Waiting>();
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-maxStderrBytes);
    });
    // A process that has ended closes the pipe; its end says why.
    child.stdin.on("error", () => undefined);
    const ready = Promise.withResolvers<Undone>();
    let last: SkepError | null = null;
    const lines = createInterface({ input: child.stdout });
    lines.on("line", (text) => {
      const line = decodeKeeperLine(text);
      if (line === null) return;
      if (line instanceof UnreadLine) {
        if (line.id === null) ready.reject(unread());
        else waiting.get(line.id)?.reject(unread());
      } else if ("ready" in line) ready.resolve(line.ready);
      else if ("warning" in line) onWarning(line.warning);
      else if ("id" in line) settle(waiting, line);
      else last = errorOf(line.error);
    });
    const code = new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    const ended = code.then((given) => {
      const error = last ?? (given === 0 ? null : died(given, stderr));
      const lost = error ?? died(given, stderr);
      for (const { reject } of waiting.values()) reject(lost);
      waiting.clear();
      ready.reject(lost);
      return error;
    });
    const { stateDir, dockerSocket } = place;
    tell(child, { open: { stateDir, dockerSocket } });
    // Both fail together: the one that is not waited for must not count as unseen.
    ended.catch(() => undefined);
    try {
      const undone = await Promise.race([ready.promise, ended.then(() => ready.promise)]);
      return new Keeper({ undone, child, ended, waiting });
    } catch (error) {
      child.stdin.end();
      throw error;
    }
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Throws the job's own error, SKEP_ONCE_FAILED where the keeper died, and the signal's reason. */
  async work<K extends TaskKind>(
    kind: K,
    input: OnceInput,
    onProgress: (progress: JobProgress) => void,
    signal: AbortSignal,
  ): Promise<TaskResultOf<K>> {
    signal.throwIfAborted();
    const id = ++this.#ids;
    const aborted = Promise.withResolvers<never>();
    const abort = (): void => {
      aborted.reject(signal.reason as Error);
    };
    signal.addEventListener("abort", abort, { once: true });
    const result = new Promise<TaskResult>((resolve, reject) => {
      this.#waiting.set(id, { kind, onProgress, resolve, reject });
      if (this.hasEnded) reject(died(this.#child.exitCode, ""));
      else tell(this.#child, { id, work: input });
    });
    try {
      return (await Promise.race([result, aborted.promise])) as TaskResultOf<K>;
    } finally {
      signal.removeEventListener("abort", abort);
      this.#waiting.delete(id);
    }
  }

  /** Resolves when all was let go. Throws what could not be, which is tried again by the next one. */
  async close(): Promise<void> {
    this.#child.stdin.end();
    const error = await this.#ended;
    if (error !== null) throw error;
  }
}

/** Undoes what a killed run left; null where there is nothing. Throws SKEP_STANDALONE_BUSY while a run is under way. */
export async function undoLeft(place: KeeperPlace): Promise<Undone | null> {
  if (!existsSync(join(place.stateDir, standaloneJournal))) return null;
  const warnings: Undone["faults"] = [];
  const keeper = await Keeper.open(place, { onWarning: (warning) => warnings.push(warning) });
  await keeper.close().catch((error: unknown) => {
    if (keeper.undone.faults.length === 0) throw error;
  });
  return { ...keeper.undone, faults: [...keeper.undone.faults, ...warnings] };
}

function errorOf({ hint, ...record }: Undone["faults"][number]): SkepError {
  return new SkepError(hint === undefined ? record : { ...record, hint });
}

function tell(child: ChildProcessByStdio<Writable, Readable, Readable>, order: KeeperOrder): void {
  child.stdin.write(`${JSON.stringify(order)}\n`);
}

function settle(waiting: Map<number, Waiting>, line: Extract<KeeperLine, { id: number }>): void {
  const one = waiting.get(line.id);
  if (one === undefined) return;
  if ("progress" in line) one.onProgress(line.progress);
  else if ("error" in line) one.reject(errorOf(line.error));
  else if (line.result.kind === one.kind) one.resolve(line.result);
  else one.reject(died(null, `it answered with a result of ${line.result.kind}`));
}

function died(code: number | null, stderr: string): SkepError {
  const said = stderr.trim();
  return new SkepError({
    code: "SKEP_ONCE_FAILED",
    message: `the process that keeps volumes quiet ended with code ${code ?? "none"}${said === "" ? "" : `:\n${said}`}`,
    permanent: false,
    hint: "was it killed, for want of memory perhaps? `skep resume` lets go what it may have left",
  });
}

function unread(): SkepError {
  return new SkepError({
    code: "SKEP_ONCE_FAILED",
    message: "the process that keeps volumes quiet answered in another shape",
    permanent: true,
    hint: "are CLI and agent of one version?",
  });
}
