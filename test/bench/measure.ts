// Runs one shell line of one tool and measures it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";

export interface Measured {
  wallS: number;
  /** User and system time of everything that the line started. */
  cpuS: number;
  /** Of Skep's process, which tells it; else null. */
  peakBytes: number | null;
}

/** bash's own clock. Throws where the line fails. */
export async function measure(line: string, variables: Record<string, string>): Promise<Measured> {
  const shell = spawn("bash", ["-o", "pipefail", "-ec", `TIMEFORMAT='%R %U %S'; time { ${line}; }`], {
    env: { ...process.env, ...variables },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(shell, "exit");
  const [out, errors] = await Promise.all([text(shell.stdout), text(shell.stderr)]);
  const [code] = (await ended) as [number | null];
  if (code !== 0) throw new Error(`${line} ended with ${code}: ${errors}`);
  const [wallS = 0, userS = 0, systemS = 0] = (errors.trim().split("\n").at(-1) ?? "").split(" ").map(Number);
  const last = out.trim().split("\n").at(-1) ?? "";
  const peakBytes = last.startsWith('{"peakBytes"') ? (JSON.parse(last) as { peakBytes: number }).peakBytes : null;
  return { wallS, cpuS: userS + systemS, peakBytes };
}

export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? NaN;
}
