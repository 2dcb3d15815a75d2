// One of the project's tools as a child of `npm test`: what it prints goes through in whole lines, and what a CI counts
// is taken from it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants, setPriority } from "node:os";
import { join } from "node:path";

export interface Outcome {
  /** What the reader knows it by: a check, or the test file. */
  name: string;
  passed: number;
  failed: number;
  /** One line for each failure: the file and the test's whole title, or how the tool ended. */
  failures: string[];
  seconds: number;
}

export interface ToolOptions {
  /** Ends the tool by SIGINT, as Ctrl-C does. */
  signal: AbortSignal;
  /** Told each line but those that are counted. Default: stdout. */
  show?: (line: string) => void;
  /** A tool without tests of its own: it counts as one test, passed when it ends with 0. It gives way to all others. */
  isCheck?: boolean;
}

export const projectRoot = join(import.meta.dirname, "..", "..");
const bin = join(projectRoot, "node_modules", ".bin");
/** How many of a tool's last lines are shown again when it ended without a test that failed. */
const tailLines = 20;

/** Runs node_modules/.bin/`command` and waits for its end, also when it is aborted. Never rejects for what the tool did. */
export async function runTool(
  name: string,
  command: string,
  argv: readonly string[],
  options: ToolOptions,
): Promise<Outcome> {
  const startedAt = performance.now();
  const child = spawn(join(bin, command), argv, {
    cwd: projectRoot,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PATH: `${bin}:${process.env["PATH"] ?? ""}` },
  });
  if (options.isCheck === true && child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW);
  const interrupt = () => child.kill("SIGINT");
  options.signal.addEventListener("abort", interrupt);
  const counts = new CountingLines(options.show ?? showAfter(""));
  const reading = [child.stdout, child.stderr].map((stream) => counts.read(stream));
  try {
    const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
    await Promise.all(reading);
    const ended = code === null ? `was ended by ${String(signal)}` : `ended with exit status ${code}`;
    return outcome({ name, isCheck: options.isCheck === true, isGood: code === 0, ended }, counts, startedAt);
  } finally {
    options.signal.removeEventListener("abort", interrupt);
  }
}

/** Shows lines on stdout, each after `prefix`: so those of tools that run side by side are told apart. */
export function showAfter(prefix: string): (line: string) => void {
  return (line) => {
    process.stdout.write(`${prefix}${line}\n`);
  };
}

/** What ended badly without a failed test to show for it (a check, a file that can't be loaded) counts as one, by its name. */
function outcome(
  tool: { name: string; isCheck: boolean; isGood: boolean; ended: string },
  lines: CountingLines,
  startedAt: number,
): Outcome {
  const { name, isCheck, isGood, ended } = tool;
  const { passed, failed, failures, tail } = lines;
  const seconds = (performance.now() - startedAt) / 1000;
  if (isGood && failed === 0) return { name, passed: isCheck ? 1 : passed, failed: 0, failures: [], seconds };
  if (failed > 0) return { name, passed, failed, failures, seconds };
  const shown = [...failures, `${name} ${ended}`, ...tail.map((line) => `    ${line}`)].join("\n  ");
  return { name, passed, failed: 1, failures: [shown], seconds };
}

/** Takes the lines that test/reporter.js writes for this file out of a tool's output, and hands on the rest. */
class CountingLines {
  passed = 0;
  failed = 0;
  readonly failures: string[] = [];
  readonly tail: string[] = [];
  readonly #show: (line: string) => void;

  constructor(show: (line: string) => void) {
    this.#show = show;
  }

  async read(stream: NodeJS.ReadableStream): Promise<void> {
    let rest = "";
    stream.setEncoding("utf8");
    for await (const text of stream) {
      const lines = (rest + String(text)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
    }
    if (rest !== "") this.#take(rest);
  }

  #take(line: string): void {
    const count = /^(\d+) passed, (\d+) failed$/.exec(line);
    const failure = /^failed: (.+)$/.exec(line);
    if (count !== null) {
      this.passed = Number(count[1]);
      this.failed = Number(count[2]);
    } else if (failure !== null) {
      this.failures.push(failure[1] ?? "");
    } else {
      this.#show(line);
      this.tail.push(line);
      if (this.tail.length > tailLines) this.tail.shift();
    }
  }
}
