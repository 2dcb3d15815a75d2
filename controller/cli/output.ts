// Where a command's output goes: data on stdout (for people a table, with --json one JSON document), words on
// stderr. Colours only where that stream is a terminal and NO_COLOR is not set.
import { styleText } from "node:util";
import { toErrorRecord } from "../../shared/errors.ts";

type Style = Parameters<typeof styleText>[0];

export interface Output {
  readonly json: boolean;
  /** True where stderr is a terminal that can redraw lines. */
  readonly live: boolean;
  /** True where a person can be asked: stdin and stderr are a terminal. */
  readonly interactive: boolean;
  /** Width of the terminal, 100 without one. */
  readonly columns: number;
  /** For people, on stdout; nothing with --json. */
  print: (text: string) => void;
  /** The one JSON document, on stdout; nothing without --json. */
  document: (value: unknown) => void;
  /** Words on stderr. */
  say: (text: string) => void;
  /** A line on stderr that begins with "warning:". */
  warn: (text: string) => void;
  /** Styles text for stdout. */
  style: (style: Style, text: string) => string;
  /** Styles text for stderr. */
  styleWords: (style: Style, text: string) => string;
}

export function makeOutput(json: boolean): Output {
  const { stdout, stderr, stdin } = process;
  const terminalIsDumb = process.env["TERM"] === "dumb";
  const styleWords = (style: Style, text: string): string => styleText(style, text, { stream: stderr });
  return {
    json,
    // One without a size (a pty that nobody gave one) can show nothing that is redrawn.
    live: stderr.isTTY && !terminalIsDumb && stderr.rows > 0 && stderr.columns > 0,
    interactive: stdin.isTTY && stderr.isTTY,
    columns: stdout.isTTY ? stdout.columns : 100,
    print: (text) => {
      if (!json) stdout.write(`${text}\n`);
    },
    document: (value) => {
      if (json) stdout.write(`${JSON.stringify(value, null, 2)}\n`);
    },
    say: (text) => {
      stderr.write(`${text}\n`);
    },
    warn: (text) => {
      stderr.write(`${styleWords("yellow", "warning:")} ${text}\n`);
    },
    style: (style, text) => styleText(style, text, { stream: stdout }),
    styleWords,
  };
}

/** `error: …`, `hint: …` and the code on stderr; with --json also { error } on stdout. */
export function printFailure(output: Output, thrown: unknown): void {
  const record = toErrorRecord(thrown);
  output.say(`${output.styleWords(["red", "bold"], "error:")} ${record.message}`);
  if (record.hint !== undefined) output.say(`${output.styleWords("cyan", "hint:")} ${record.hint}`);
  output.say(output.styleWords("dim", `code: ${record.code}`));
  output.document({ error: record });
}
