// What was measured as the tables of docs/BENCH.md: for each case the tools' times, for each target whether it is met.
import type { CaseReport } from "./report.ts";

interface Target {
  what: string;
  /** At most, or of the limit's speed at least. */
  bound: number;
  isLeast?: boolean;
  /** Null: not measured. */
  seen: (reports: readonly CaseReport[]) => number | null;
}

const wallRatio = (name: string, step: string, peer: string): Target["seen"] => {
  return (reports) => {
    const report = reports.find((one) => one.name === name);
    return report?.ratios.find((one) => one.step === step && one.peer === peer)?.wall ?? null;
  };
};
const ratioTarget = (bound: number, name: string, step: string, peer: string): Target => {
  return { what: `${name}: ${step}, wall time × ${peer}`, bound, seen: wallRatio(name, step, peer) };
};

const targets: Target[] = [
  ratioTarget(0.35, "mixed", "first backup", "restic"),
  ratioTarget(0.4, "mixed", "first backup", "borg"),
  ratioTarget(1.4, "mixed", "first backup", "tar|zstd|age"),
  ratioTarget(0.3, "mixed", "read again, nothing new", "restic"),
  ratioTarget(0.8, "mixed", "unchanged", "restic"),
  ratioTarget(0.5, "mixed", "restore all", "restic"),
  ratioTarget(1, "million-files", "restore one file", "restic"),
  {
    what: "mixed: stored bytes × the smaller of restic and borg",
    bound: 1.02,
    seen: (reports) => reports.find(({ name }) => name === "mixed")?.storedRatio ?? null,
  },
  {
    what: "million-files: peak memory, MB",
    bound: 300,
    seen: (reports) => {
      const peaks = reports
        .find(({ name }) => name === "million-files")
        ?.results.flatMap(({ peakBytes }) => peakBytes ?? []);
      return peaks === undefined || peaks.length === 0 ? null : Math.max(...peaks) / 1e6;
    },
  },
  {
    what: "mixed: share of the limit's speed",
    bound: 0.7,
    isLeast: true,
    seen: (reports) => reports.find(({ name }) => name === "mixed")?.limit?.wallShare ?? null,
  },
];

/** `heading`: machine and versions, one line. */
export function toMarkdown(heading: string, reports: readonly CaseReport[]): string {
  return [heading, targetTable(reports), ...reports.map(caseTable)].join("\n\n") + "\n";
}

function targetTable(reports: readonly CaseReport[]): string {
  const rows = targets.map(({ what, bound, isLeast = false, seen }) => {
    const value = seen(reports);
    if (value === null) return [what, bounded(bound, isLeast), "not measured", ""];
    const isMet = isLeast ? value >= bound : value <= bound;
    return [what, bounded(bound, isLeast), figure(value), isMet ? "met" : "**missed**"];
  });
  return table(["target", "", "seen", ""], rows);
}

function bounded(bound: number, isLeast: boolean): string {
  return `${isLeast ? "≥" : "≤"} ${bound}`;
}

function caseTable(report: CaseReport): string {
  const { name, files, bytes, rounds, load, results, ratios, storedBytes } = report;
  const tools = [...new Set(results.map(({ tool }) => tool))];
  const rows = [...new Set(results.map(({ step }) => step))].map((step) => [
    step,
    ...tools.map((tool) => {
      const found = results.find((one) => one.step === step && one.tool === tool);
      if (found === undefined) return "–";
      const ratio = ratios.find((one) => one.step === step && one.peer === tool);
      const share = ratio === undefined ? "" : `, ×${figure(ratio.wall)}`;
      const peak = found.peakBytes === null ? "" : `, ${figure(found.peakBytes / 1e6)} MB`;
      return `${found.wallS.toFixed(1)} (${found.cpuS.toFixed(1)})${share}${peak}`;
    }),
  ]);
  const stored = tools.map((tool) => ((storedBytes[tool] ?? NaN) / 1e6).toFixed(1).replace("NaN", "–"));
  if (Object.keys(storedBytes).length > 0) rows.push(["stored MB", ...stored]);
  const [before, after] = load;
  return (
    [
      `\`${name}\`, ${files} files, ${(bytes / 1e6).toFixed(0)} MB, ${rounds} ${rounds === 1 ? "round" : "rounds"},`,
      `load ${before.toFixed(1)} to ${after.toFixed(1)}; wall seconds (CPU seconds), × Skep's share of the peer's wall time:\n\n`,
    ].join(" ") + table(["", ...tools], rows)
  );
}

function figure(value: number): string {
  return value >= 10 ? value.toFixed(0) : value.toFixed(2);
}

/** Columns as wide as Prettier makes them. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows].map((cells) => cells.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = head.map((_, column) => Math.max(3, ...all.map((cells) => cells[column]?.length ?? 0)));
  const rule = widths.map((width) => "-".repeat(width));
  return all
    .toSpliced(1, 0, rule)
    .map((cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`)
    .join("\n");
}
