// A program on a pseudo terminal, and somebody who answers its questions. The terminal is made by script of util-linux, which
// every Debian has.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { quoteArguments } from "../../controller/recovery/quote-arguments.ts";

export interface Answered {
  code: number | null;
  /** All that the program wrote to the terminal, with the terminal's own controls. */
  text: string;
}

/** A question, of which a part is enough, and what is typed once it stands there. */
export type Answer = readonly [question: string, typed: string];

/** Runs `argv` to its end. Throws where it ends before all of `answers` were asked for, or lives longer than `timeoutMs` (60 s). */
export async function onTerminal(
  argv: readonly string[],
  answers: readonly Answer[],
  { timeoutMs = 60_000, ...options }: { cwd?: string; timeoutMs?: number } = {},
): Promise<Answered> {
  const child = spawn("script", ["--quiet", "--return", "--command", quoteArguments(argv), "/dev/null"], {
    ...options,
    stdio: ["pipe", "pipe", "inherit"],
    // Its end hangs up on the program.
    signal: AbortSignal.timeout(timeoutMs),
  });
  let text = "";
  let seen = 0;
  const left = [...answers];
  child.stdout.setEncoding("utf8").on("data", (piece: string) => {
    text += piece;
    const [next] = left;
    const at = next === undefined ? -1 : text.indexOf(next[0], seen);
    if (next === undefined || at < 0) return;
    seen = at + next[0].length;
    left.shift();
    child.stdin.write(`${next[1]}\r`);
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (left.length > 0) throw new Error(`never asked for ${left.map(([question]) => question).join(", ")}:\n${text}`);
  return { code, text };
}
