// This machine as the one that a swarm directory is laid onto.
import { spawn } from "node:child_process";
import { SkepError } from "../../shared/errors.ts";
import type { CommandOptions, CommandResult, SwarmHost } from "./host.ts";

const defaultTimeoutMs = 60_000;
const maxOutputBytes = 16 * 1024 * 1024;

export function localHost(askEngine: SwarmHost["askEngine"]): SwarmHost {
  return { name: "this host", run, askEngine };
}

async function run(argv: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const { signal, input, timeoutMs = defaultTimeoutMs } = options;
  signal.throwIfAborted();
  const [program = "", ...args] = argv;
  const child = spawn(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    env: { ...process.env, LC_ALL: "C" },
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      output[name] += text;
      if (output[name].length > maxOutputBytes) child.kill();
    });
  }
  // One that ends before it read everything closes the pipe; its exit code says why.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (ended) => {
        resolve(ended ?? -1);
      });
    });
    return { code, ...output };
  } catch (error) {
    signal.throwIfAborted();
    throw new SkepError({
      code: "SKEP_SWARM_RESTORE_COMMAND",
      message: `${program} cannot be run on this host: ${error instanceof Error ? error.message : String(error)}`,
      permanent: false,
      hint: "a restore needs coreutils and systemd on this host",
      cause: error,
    });
  }
}
