// Runs the real CLI as a child process, as a shell would: its own folder, its own environment, no terminal.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

export const cliPath = join(import.meta.dirname, "..", "..", "..", "controller", "cli", "main.ts");

export interface CliResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface CliCall {
  cwd: string;
  stdin?: string;
  env?: Record<string, string>;
}

const { NODE_COMPILE_CACHE: cache } = process.env;
/** Code that another test has compiled is not compiled again. */
const compiled = cache === undefined ? {} : { NODE_COMPILE_CACHE: cache };

export async function runCli(argv: readonly string[], { cwd, stdin, env }: CliCall): Promise<CliResult> {
  const child = spawn(process.execPath, [cliPath, ...argv], {
    cwd,
    env: { PATH: process.env["PATH"] ?? "", HOME: cwd, ...compiled, ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const read = async (stream: NodeJS.ReadableStream): Promise<string> => {
    let text = "";
    for await (const piece of stream.setEncoding("utf8")) text += piece as string;
    return text;
  };
  child.stdin.on("error", () => undefined);
  child.stdin.end(stdin ?? "");
  const [stdout, stderr, [code]] = await Promise.all([
    read(child.stdout),
    read(child.stderr),
    once(child, "close") as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}
