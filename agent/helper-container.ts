// Volumes that are mounted only while a container uses them (NFS and other options of the `local` driver, plugins)
// are worked on inside a short-lived container of our own image that mounts them: agent/once.ts runs there, with
// the job and its keys on standard input and the result on standard output.
import { SkepError, fromErrorRecord } from "../shared/errors.ts";
import { nodeFlags } from "../shared/node-flags.ts";
import { onceLineSchema, type OnceInput } from "../shared/contract/once.ts";
import type { Job, RestoreKeys } from "../shared/contract/job.ts";
import type { TaskResult } from "../shared/contract/task-result.ts";
import type { AgentContext, Attempt } from "./context.ts";
import { helperLabel, type Docker } from "./docker.ts";
import { findOwnContainer } from "./own-container.ts";

const mountTarget = "/skep-volume";
const onceFile = new URL("./once.ts", import.meta.url).pathname;
/** A line of a result; the largest are a snapshot's warnings. */
const maxLineBytes = 16 * 1024 * 1024;

export interface HelperTask {
  job: Job;
  volume: string;
  readOnly: boolean;
  identityKeys?: RestoreKeys;
}

/** Throws SKEP_VOLUME_NEEDS_IMAGE outside of a container, what the job threw, SKEP_HELPER_FAILED where it ended without a word. */
export async function runInHelper(task: HelperTask, context: AgentContext, attempt: Attempt): Promise<TaskResult> {
  const own = await findOwnContainer(context.docker, attempt.signal);
  if (own === null) {
    throw new SkepError({
      code: "SKEP_VOLUME_NEEDS_IMAGE",
      message: `volume ${task.volume} is mounted only while a container uses it, and Skep does not run as a container here`,
      permanent: true,
      hint: "run the agent as a container of Skep's image: it reads such volumes through a container of that image",
    });
  }
  const input: OnceInput = {
    job: task.job,
    attempt: attempt.number,
    writerId: context.writerId,
    writerKey: Buffer.from(context.writerKey).toString("base64"),
    epoch: context.epoch,
    store: context.storeLocation,
    credentials: context.credentials,
    ...(task.identityKeys === undefined ? {} : { identityKeys: task.identityKeys }),
    hostRoot: context.hostRoot,
    stateDir: context.stateDir,
    dockerSocket: context.dockerSocket,
    mountedAt: mountTarget,
  };
  let outcome: { result: TaskResult } | { error: SkepError } | null = null;
  const lines = new LineReader((line) => {
    const parsed = onceLineSchema.parse(JSON.parse(line));
    if ("progress" in parsed) attempt.onProgress(parsed.progress);
    else if ("result" in parsed) outcome = { result: parsed.result };
    else {
      const { hint, ...error } = parsed.error;
      outcome = { error: fromErrorRecord(hint === undefined ? error : { ...error, hint }) };
    }
  });
  const { exitCode, stderr } = await context.docker.runHelper({
    image: own.image,
    command: [process.execPath, ...nodeFlags, onceFile],
    like: own.id,
    volume: { name: task.volume, target: mountTarget, readOnly: task.readOnly },
    label: attempt.jobId,
    stdin: Buffer.from(JSON.stringify(input), "utf8"),
    onStdout: (bytes) => {
      lines.push(bytes);
    },
    signal: attempt.signal,
  });
  const ended = outcome as { result: TaskResult } | { error: SkepError } | null;
  if (ended === null || lines.fault !== null) {
    throw new SkepError({
      code: "SKEP_HELPER_FAILED",
      message: `the container that read volume ${task.volume} ended with ${exitCode} and no result: ${stderr.trim()}`,
      permanent: false,
      cause: lines.fault,
    });
  }
  if ("error" in ended) throw ended.error;
  return ended.result;
}

/** Splits a stream into lines; the first line that its taker refuses is kept as the fault. */
export class LineReader {
  fault: unknown = null;
  readonly #take: (line: string) => void;
  #rest = Buffer.alloc(0);

  constructor(take: (line: string) => void) {
    this.#take = take;
  }

  push(bytes: Uint8Array): void {
    if (this.fault !== null) return;
    this.#rest = Buffer.concat([this.#rest, bytes]);
    try {
      for (let end = this.#rest.indexOf(10); end !== -1; end = this.#rest.indexOf(10)) {
        const line = this.#rest.toString("utf8", 0, end);
        this.#rest = this.#rest.subarray(end + 1);
        if (line.trim() !== "") this.#take(line);
      }
      if (this.#rest.length > maxLineBytes) throw new RangeError(`a line is longer than ${maxLineBytes} bytes`);
    } catch (error) {
      this.fault = error;
    }
  }
}

/** Removes helper containers that a crashed agent left; returns their ids. */
export async function reapHelpers(docker: Docker, signal?: AbortSignal): Promise<string[]> {
  const left = await docker.containers({ label: [helperLabel] }, signal);
  for (const container of left) await docker.removeContainer(container.Id, signal);
  return left.map((container) => container.Id);
}
