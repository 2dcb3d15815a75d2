// Tables for people: a head, no frame, two spaces between columns, so that they read well and paste well.
import Table from "cli-table3";
import { visible } from "./format.ts";
import type { Output } from "./output.ts";

const frameless = Object.fromEntries(
  [
    ...["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left", "bottom-right"],
    ...["left", "left-mid", "mid", "mid-mid", "right", "right-mid"],
  ].map((place) => [place, ""]),
);

export interface Column<Row> {
  head: string;
  /** The cell's text, already styled where it is styled; text from outside goes through `visible`. */
  cell: (row: Row) => string;
  align?: "left" | "right";
}

/** The table as text without a last line end. */
export function table<Row>(output: Output, columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const drawn = new Table({
    chars: { ...frameless, middle: "  " },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
    head: columns.map(({ head }) => output.style("dim", head)),
    colAligns: columns.map(({ align }) => align ?? "left"),
  });
  for (const row of rows) drawn.push(columns.map(({ cell }) => cell(row)));
  return drawn
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** Lines `name  value`, the names padded to one width. `style` is that of the stream they go to. */
export function facts(style: Output["style"], pairs: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${style("dim", name.padEnd(width))}  ${visible(value)}`).join("\n");
}
