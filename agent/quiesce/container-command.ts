// A command in a container, and what is kept of its output: cut, and without what looks like a secret.
import type { ContainerCommand } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import type { CommandRecord } from "../../shared/repository/run.ts";
import type { Docker } from "../docker.ts";
import type { Container } from "../docker-objects.ts";
import { containerName } from "../docker-objects.ts";
import { findPlace, useOf, type Use } from "../volume-place.ts";

const stderrBytes = 4096;
const stdoutBytes = 1024;
/** Above it a signal ended the command, as shells and engines tell it. */
const mostOwnExitCode = 128;

export interface Ran {
  record: CommandRecord;
  /** Null where it ended with 0. Permanent where the command said so itself, or took too long; not where the engine broke it off. */
  fault: SkepError | null;
}

export interface CommandStreams {
  /** Left out where its output is of no use. */
  onStdout?: (bytes: Buffer) => Promise<void> | void;
  /** What it reads; where that throws, it sees an end, and the fault is none of its own. */
  stdin?: AsyncIterable<Uint8Array>;
}

/** Resolves for whatever became of the command; rejects only where the attempt itself is aborted, or what takes its output throws. */
export async function runInContainer(
  step: CommandRecord["step"],
  command: ContainerCommand,
  docker: Docker,
  signal: AbortSignal,
  { onStdout, stdin }: CommandStreams = {},
): Promise<Ran> {
  const container = await findContainer(command, docker, signal);
  if (container === null) {
    const record = { step, container: command.container ?? command.saidBy ?? "none", exitCode: null, stderr: "" };
    return { record, fault: noContainer(step, command) };
  }
  const name = containerName(container);
  const stderr = new Tail(stderrBytes);
  const stdout = new Tail(stdoutBytes);
  const timeout = AbortSignal.timeout(command.timeoutSeconds * 1000);
  const taking: { failed: Error | null } = { failed: null };
  try {
    const { exitCode } = await docker.exec({
      container: container.Id,
      argv: command.argv,
      user: command.user,
      stdin: stdin ?? null,
      onStdout: async (bytes) => {
        stdout.add(bytes);
        try {
          await onStdout?.(bytes);
        } catch (error) {
          taking.failed = error as Error;
          throw error;
        }
      },
      onStderr: (bytes) => {
        stderr.add(bytes);
      },
      signal: AbortSignal.any([signal, timeout]),
    });
    const record = recordOf(step, name, exitCode, stderr, stdout);
    return { record, fault: exitCode === 0 ? null : failed(step, name, `ended with ${exitCode}`, true) };
  } catch (error) {
    signal.throwIfAborted();
    if (taking.failed !== null) throw taking.failed;
    const record = recordOf(step, name, null, stderr, stdout);
    if (timeout.aborted) {
      return { record, fault: failed(step, name, `did not end within ${command.timeoutSeconds} s`, true) };
    }
    const why = `could not be run: ${error instanceof Error ? error.message : String(error)}`;
    return { record, fault: failed(step, name, why, !isPassing(error), error) };
  }
}

function recordOf(
  step: CommandRecord["step"],
  container: string,
  exitCode: number | null,
  stderr: Tail,
  stdout: Tail,
): CommandRecord {
  const record = { step, container, exitCode, stderr: stderr.redacted() };
  const tellsNothing = exitCode !== 0 && record.stderr.trim() === "";
  // What a dump put out until it was broken off are rows, and says nothing of why.
  const isData = step === "dump" && (exitCode === null || exitCode > mostOwnExitCode);
  return tellsNothing && !isData ? { ...record, stdout: stdout.redacted() } : record;
}

type Place = Pick<ContainerCommand, "container" | "saidBy" | "volume">;

/**
 * By name of container or service; else, of those whose label it is or of all, the first one that runs and uses the
 * volume. One that uses only a folder in it is meant by nobody but its own label. Null where there is none.
 */
export async function findContainer(
  { container, saidBy, volume }: Place,
  docker: Docker,
  signal: AbortSignal,
): Promise<Container | null> {
  const running = await docker.containers({ status: ["running"] }, signal);
  const name = container ?? saidBy;
  const named = running
    .filter((each) => name === undefined || isCalled(each, name))
    .sort((a, b) => (containerName(a) < containerName(b) ? -1 : 1));
  if (container !== null || named.length === 0) return named[0] ?? null;
  const place = await findPlace([volume], docker, signal);
  const using = (use: Use): Container | undefined => named.find((each) => useOf(each, place) === use);
  return using("all") ?? (saidBy === undefined ? undefined : using("part")) ?? null;
}

function isCalled(container: Container, name: string): boolean {
  return containerName(container) === name || container.Labels?.["com.docker.swarm.service.name"] === name;
}

/** What is missing where there is none. */
export function describePlace({ container, saidBy, volume }: Place): string {
  if (container !== null) return `no container ${container} runs here`;
  return saidBy === undefined
    ? `no running container uses volume ${volume}`
    : `no running container of ${saidBy}, whose label it is, uses volume ${volume}`;
}

export function noContainer(step: CommandRecord["step"], command: ContainerCommand): SkepError {
  return new SkepError({
    code: "SKEP_COMMAND_NO_CONTAINER",
    message: `${step} had nowhere to run: ${describePlace(command)}`,
    permanent: true,
    hint: "start it, or name another container for this command",
  });
}

/** Nothing that the command did: the engine, or the way to it. A container that went while it ran is looked for anew. */
function isPassing(error: unknown): boolean {
  return error instanceof SkepError && (!error.permanent || error.code === "SKEP_DOCKER_NOT_FOUND");
}

function failed(
  step: CommandRecord["step"],
  container: string,
  why: string,
  permanent: boolean,
  cause?: unknown,
): SkepError {
  return new SkepError({
    code: "SKEP_COMMAND_FAILED",
    message: `${step} in ${container} ${why}`,
    permanent,
    hint: "its output stands with the part: `skep show`",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** More than is told is looked at: cut off from its name, a secret would not look like one. */
const lookBackBytes = 8192;

/** The last bytes of what came. */
class Tail {
  readonly #most: number;
  #bytes = Buffer.alloc(0);

  constructor(most: number) {
    this.#most = most;
  }
  add(bytes: Buffer): void {
    const kept = this.#most + lookBackBytes;
    this.#bytes = Buffer.concat([this.#bytes, bytes.subarray(-kept)]).subarray(-kept);
  }
  /** No more characters than bytes are to be told. */
  redacted(): string {
    return redact(this.#bytes.toString("utf8")).slice(-this.#most);
  }
}

const secretName = String.raw`[\w.-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|credential|api[_-]?key|private[_-]?key|access[_-]?key|authorization)[\w.-]*`;
const redactions: readonly [RegExp, string][] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, "[redacted]"],
  // One whose begin was cut off.
  [/^[\s\S]*-----END [A-Z ]*PRIVATE KEY-----/, "[redacted]"],
  [/\b(AGE-SECRET-KEY-|SWMKEY-|SWMTKN-)[\w+/=-]+/g, "[redacted]"],
  // scheme://user:password@host
  [/(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@]*:)[^\s@]+@/gi, "$1[redacted]@"],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]{8,}/gi, "$1 [redacted]"],
  [new RegExp(String.raw`(${secretName}["']?\s*(?:=|:|\s)\s*)("[^"]*"|'[^']*'|[^\s,;&]+)`, "gi"), "$1[redacted]"],
];

/** What looks like a password, a key or a token is replaced. Exported for its test. */
export function redact(text: string): string {
  return redactions.reduce((redacted, [pattern, by]) => redacted.replace(pattern, by), text);
}
