// Medians and ratios of what was measured, as a table and as JSON.
import Table from "cli-table3";
import { median, type Measured } from "./measure.ts";

export interface StepResult {
  step: string;
  tool: string;
  wallS: number;
  cpuS: number;
  peakBytes: number | null;
}

/** Skep's time divided by the peer's. */
export interface Ratio {
  step: string;
  peer: string;
  wall: number;
  cpu: number;
}

export interface CaseReport {
  name: string;
  files: number;
  bytes: number;
  rounds: number;
  /** 1-minute load average before and after: above 1 the wall times say little. */
  load: [number, number];
  /** After the first step. */
  storedBytes: Record<string, number>;
  /** Skep's divided by the smallest of the peers that deduplicate. */
  storedRatio: number | null;
  results: StepResult[];
  ratios: Ratio[];
  /** Of the case that is measured against the limit. */
  limit?: Limit;
}

export interface Limit {
  wallS: number;
  cpuS: number;
  /** Of the limit's speed that Skep's first backup has. */
  wallShare: number;
  cpuShare: number;
}

export function summarise(runs: ReadonlyMap<string, { step: string; tool: string; all: Measured[] }>): {
  results: StepResult[];
  ratios: Ratio[];
} {
  const results = [...runs.values()].map(({ step, tool, all }): StepResult => {
    const peaks = all.flatMap(({ peakBytes }) => (peakBytes === null ? [] : [peakBytes]));
    return {
      step,
      tool,
      wallS: median(all.map(({ wallS }) => wallS)),
      cpuS: median(all.map(({ cpuS }) => cpuS)),
      peakBytes: peaks.length === 0 ? null : Math.max(...peaks),
    };
  });
  // Ratios are of the same round, so that a load that comes and goes weighs on both.
  const ratios = results.flatMap(({ step, tool }): Ratio[] => {
    const ours = runs.get(`${step}/skep`)?.all;
    const theirs = runs.get(`${step}/${tool}`)?.all;
    if (tool === "skep" || ours === undefined || theirs === undefined) return [];
    const ratioOf = (field: "wallS" | "cpuS"): number =>
      median(ours.map((run, round) => run[field] / (theirs[round]?.[field] ?? NaN)));
    return [{ step, peer: tool, wall: ratioOf("wallS"), cpu: ratioOf("cpuS") }];
  });
  return { results, ratios };
}

export function printCase(report: CaseReport, tools: readonly string[]): void {
  const { name, files, bytes, rounds, load } = report;
  process.stdout.write(
    `\n${name}: ${files} files, ${(bytes / 1e6).toFixed(0)} MB, ${rounds} rounds, load ${load.map((one) => one.toFixed(1)).join(" to ")}; wall s (CPU s), ×: Skep's share\n`,
  );
  const table = new Table({ head: ["", ...tools] });
  for (const step of new Set(report.results.map((result) => result.step))) {
    const cells = tools.map((tool) => {
      const found = report.results.find((result) => result.step === step && result.tool === tool);
      if (found === undefined) return "–";
      const ratio = report.ratios.find((one) => one.step === step && one.peer === tool);
      const share = ratio === undefined ? "" : `  ×${ratio.wall.toFixed(2)} (×${ratio.cpu.toFixed(2)})`;
      const peak = found.peakBytes === null ? "" : `  ${(found.peakBytes / 1e6).toFixed(0)} MB`;
      return `${found.wallS.toFixed(1)} (${found.cpuS.toFixed(1)})${share}${peak}`;
    });
    table.push([step, ...cells]);
  }
  const stored = (tool: string): string => {
    const size = report.storedBytes[tool];
    return size === undefined ? "–" : (size / 1e6).toFixed(1);
  };
  table.push(["stored MB", ...tools.map(stored)]);
  process.stdout.write(`${table.toString()}\n`);
}
