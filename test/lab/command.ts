// Runs a program of the machine (ip, nsenter, mount …): an argument list, never a shell string.
import { spawn } from "node:child_process";
import { SkepError } from "../../shared/errors.ts";

export interface CommandOptions {
  /** Bytes for the program's stdin; without it stdin is empty. */
  input?: string | Uint8Array;
  env?: Record<string, string>;
  cwd?: string;
  /** Aborting kills the program (SIGKILL) and rejects. Default: 120 s. */
  signal?: AbortSignal;
}

export interface CommandResult {
  stdout: string;
  stderr: string;
  /** Exit status; 128 + n after signal n, as a shell tells it. */
  code: number;
}

const outputLimitBytes = 16 * 1024 * 1024;
const signalNumbers: Record<string, number> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15,
};

/**
 * Runs `argv` to its end and tells how it ended, whatever its exit status.
 * Throws SKEP_LAB_COMMAND when it can't be started, writes more than 16 MiB, or is aborted.
 */
export async function tryCommand(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [program, ...args] = argv;
  if (program === undefined) throw new TypeError("argv is empty");
  const signal = options.signal ?? AbortSignal.timeout(120_000);
  const child = spawn(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    cwd: options.cwd,
    env: options.env ?? process.env,
    signal,
    killSignal: "SIGKILL",
  });
  return await new Promise<CommandResult>((resolve, reject) => {
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let sizeBytes = 0;
    let failure: Error | undefined;
    const collect = (into: Buffer[]) => (chunk: Buffer) => {
      sizeBytes += chunk.length;
      if (sizeBytes <= outputLimitBytes) {
        into.push(chunk);
        return;
      }
      failure ??= new Error("wrote more than 16 MiB");
      child.kill("SIGKILL");
    };
    child.stdout.on("data", collect(out));
    child.stderr.on("data", collect(err));
    child.on("error", (error) => (failure ??= error));
    // A program that ends without reading its stdin is judged by its exit status.
    child.stdin.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") failure ??= error;
    });
    child.stdin.end(options.input);
    child.on("close", (code, signalName) => {
      const stderr = Buffer.concat(err).toString();
      if (failure !== undefined) {
        reject(
          new SkepError({
            code: "SKEP_LAB_COMMAND",
            message: `${argv.join(" ")}: ${failure.message}${stderr === "" ? "" : `\n${stderr.trimEnd()}`}`,
            permanent: false,
            cause: failure,
          }),
        );
        return;
      }
      const status = code ?? 128 + (signalNumbers[signalName ?? ""] ?? 0);
      resolve({ stdout: Buffer.concat(out).toString(), stderr, code: status });
    });
  });
}

/** Runs `argv` and returns its stdout; throws SKEP_LAB_COMMAND, with what it wrote to stderr, unless it ends with 0. */
export async function command(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await tryCommand(argv, options);
  if (result.code !== 0) {
    throw new SkepError({
      code: "SKEP_LAB_COMMAND",
      message: `${argv.join(" ")}: exit status ${result.code}\n${result.stderr.trimEnd()}`,
      permanent: false,
    });
  }
  return result.stdout;
}
