// The machine that a swarm directory is laid onto: this one, or one that is reached over SSH. All that a restore does
// there are commands of coreutils and systemd, as argument lists, and requests to its engine.
import { SkepError } from "../../shared/errors.ts";

export interface CommandOptions {
  signal: AbortSignal;
  /** What its standard input is; without it empty. */
  input?: Uint8Array;
  /** Default 60 s. */
  timeoutMs?: number;
}

export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

export interface SwarmHost {
  /** For messages. */
  readonly name: string;
  /** Runs it to its end as root, whatever its exit code. */
  run(argv: readonly string[], options: CommandOptions): Promise<CommandResult>;
  /** The answer's JSON. Throws SKEP_DOCKER_UNREACHABLE, or what stands for a refusal. */
  askEngine(call: { method?: "GET" | "POST"; path: string; body?: unknown }, signal: AbortSignal): Promise<unknown>;
}

/** Its standard output. Throws SKEP_SWARM_RESTORE_COMMAND where it ends with another code than 0. */
export async function mustRun(host: SwarmHost, argv: readonly string[], options: CommandOptions): Promise<string> {
  const { code, stdout, stderr } = await host.run(argv, options);
  if (code === 0) return stdout;
  // Of a script only its arguments are of interest.
  const shown = argv[0] === "sh" ? argv.slice(3) : argv;
  throw new SkepError({
    code: "SKEP_SWARM_RESTORE_COMMAND",
    message: `on ${host.name} ${shown.join(" ")} ended with code ${code}: ${stderr.trim()}`,
    permanent: false,
    hint: "is it run as root, and is there room on the disk?",
  });
}

export async function pathExists(host: SwarmHost, path: string, signal: AbortSignal): Promise<boolean> {
  return (await host.run(["test", "-e", path], { signal })).code === 0;
}

/** The file's text, null where it is missing. */
export async function readText(host: SwarmHost, path: string, signal: AbortSignal): Promise<string | null> {
  return (await pathExists(host, path, signal)) ? await mustRun(host, ["cat", path], { signal }) : null;
}

const writeScript = 'set -eu; umask 077; cat > "$1.new"; chmod "$2" "$1.new"; sync "$1.new"; mv -fT "$1.new" "$1"';

/** All or nothing, and on the disk when it returns. */
export async function writeFile(
  host: SwarmHost,
  file: { path: string; mode: number; bytes: Uint8Array },
  signal: AbortSignal,
): Promise<void> {
  const argv = ["sh", "-c", writeScript, "write", file.path, file.mode.toString(8)];
  await mustRun(host, argv, { signal, input: file.bytes, timeoutMs: 600_000 });
}
