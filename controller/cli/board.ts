// Live progress: on a terminal a block of lines that is redrawn in place, elsewhere a plain line whenever a line
// changes its state, and every 30 s for what is still running, so that a log shows that it lives.
import { createRequire } from "node:module";
import type * as LogUpdate from "log-update";
import type { JobProgress } from "../../shared/contract/job-progress.ts";
import * as format from "./format.ts";
import type { Output } from "./output.ts";

export type LineState = "waiting" | "running" | "done" | "partial" | "failed";

export interface BoardLine {
  /** One line a part, by its kind and name. */
  id: string;
  label: string;
  state: LineState;
  /** Right of the label: sizes, an error's message. */
  detail: string;
  /** 0–1, null where it is not known. */
  share: number | null;
}

export interface Board {
  update(title: string, lines: readonly BoardLine[]): void;
  /** Leaves the last state on the screen. */
  close(): void;
}

const symbols = { waiting: "·", running: "◐", done: "✔", partial: "◑", failed: "✖" } as const;
const colours = { waiting: "dim", running: "cyan", done: "green", partial: "yellow", failed: "red" } as const;
const plainEveryMs = 30_000;
const drawEveryMs = 100;
const barWidth = 20;
const require = createRequire(import.meta.url);

export function makeBoard(output: Output, now: () => number = Date.now, everyMs = plainEveryMs): Board {
  return output.live ? liveBoard(output, now) : plainBoard(output, now, everyMs);
}

function plainBoard(output: Output, now: () => number, everyMs: number): Board {
  const said = new Map<string, { state: LineState; at: number }>();
  let saidTitle = "";
  let latest: readonly BoardLine[] = [];
  const sayDue = (): void => {
    for (const line of latest) {
      const last = said.get(line.id);
      const due = last?.state !== line.state || (line.state === "running" && now() - last.at >= everyMs);
      // One that waits has nothing to tell, but for a fault after which it is tried again.
      if (!due || (line.state === "waiting" && line.detail === "")) continue;
      said.set(line.id, { state: line.state, at: now() });
      output.say(`${line.label}: ${line.state}${line.detail === "" ? "" : `, ${format.visible(line.detail)}`}`);
    }
  };
  // A slow store brings nothing new to tell for minutes.
  const timer = setInterval(sayDue, everyMs).unref();
  return {
    update: (title, lines) => {
      if (title !== saidTitle) output.say(title);
      saidTitle = title;
      latest = lines;
      sayDue();
    },
    close: () => {
      clearInterval(timer);
    },
  };
}

function liveBoard(output: Output, now: () => number): Board {
  // Only here: it prepares to measure emoji, which takes an eighth of a command's start.
  const { createLogUpdate } = require("log-update") as typeof LogUpdate;
  const draw = createLogUpdate(process.stderr, { showCursor: true });
  let drawnAt = 0;
  let last: string | null = null;
  return {
    update: (title, lines) => {
      last = render(output, title, lines, process.stderr.columns, process.stderr.rows);
      if (now() - drawnAt < drawEveryMs) return;
      drawnAt = now();
      draw(last);
    },
    close: () => {
      if (last !== null) draw(last);
      draw.done();
    },
  };
}

/** The block as text, never higher than the terminal: what runs first, then what failed, then the rest in order. */
export function render(
  output: Pick<Output, "styleWords">,
  title: string,
  lines: readonly BoardLine[],
  columns: number,
  rows: number,
): string {
  const room = Math.max(3, rows - 3);
  const order: LineState[] = ["running", "failed", "partial", "waiting", "done"];
  const shown =
    lines.length <= room
      ? lines
      : lines.toSorted((a, b) => order.indexOf(a.state) - order.indexOf(b.state)).slice(0, room - 1);
  const labelWidth = Math.min(48, Math.max(0, ...shown.map(({ label }) => label.length)));
  const rest = lines.length - shown.length;
  return [
    output.styleWords("bold", title),
    ...shown.map((line) => {
      const label = format.clip(line.label, labelWidth).padEnd(labelWidth);
      const bar = line.state === "running" && line.share !== null ? `${drawBar(output, line.share)} ` : "";
      const taken = 6 + labelWidth + (bar === "" ? 0 : barWidth + 1);
      const detail = format.clip(line.detail, Math.max(0, columns - taken - 1));
      return `  ${output.styleWords(colours[line.state], symbols[line.state])} ${label}  ${bar}${output.styleWords("dim", detail)}`;
    }),
    ...(rest > 0 ? [output.styleWords("dim", `  … and ${rest} more`)] : []),
  ].join("\n");
}

function drawBar(output: Pick<Output, "styleWords">, share: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * barWidth);
  return output.styleWords("cyan", "━".repeat(full)) + output.styleWords("dim", "━".repeat(barWidth - full));
}

/** `uploading, 120 MiB of 1.2 GiB, 340 files`. */
export function describeProgress(progress: JobProgress): { detail: string; share: number | null } {
  const { phase, doneBytes, totalBytes, doneFiles } = progress;
  const size =
    totalBytes === null ? format.bytes(doneBytes) : `${format.bytes(doneBytes)} of ${format.bytes(totalBytes)}`;
  const files = doneFiles === 0 ? "" : `, ${format.plural(doneFiles, "file")}`;
  return {
    detail: `${phase}, ${size}${files}`,
    share: totalBytes === null || totalBytes === 0 ? null : doneBytes / totalBytes,
  };
}
