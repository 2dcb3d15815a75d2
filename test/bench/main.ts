// npm run bench: Skep, and from Debian's packages restic, borg and tar | zstd | age, in turn on the same data and the same
// kind of store. Prints medians and ratios as tables, or with --json as JSON on stdout.
//
//   npm run bench -- --case raft [--megabytes 64] [--rounds 5] [--json]      (raft.ts: nobody to compare with)
//   npm run bench -- [--case NAME]… [--rounds 3] [--scale 1] [--without-s3] [--json] [--markdown FILE]
//
// Installs what is missing, and takes away all that it made. Wall time tells what a user waits; on a machine that does
// other things at the same time, look at the CPU time and at the load.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cases, filesBelow, type Case } from "./cases.ts";
import { setTimes } from "./data.ts";
import { toMarkdown } from "./markdown.ts";
import { measure, median, type Measured } from "./measure.ts";
import { printCase, summarise, type CaseReport, type Limit } from "./report.ts";
import { withBucket, type Bucket } from "./s3-bucket.ts";
import { installTools, toolEnvironment, tools as allTools, type Tool } from "./tools.ts";

const { values } = parseArgs({
  options: {
    case: { type: "string", multiple: true },
    rounds: { type: "string", default: "3" },
    scale: { type: "string", default: "1" },
    "without-s3": { type: "boolean", default: false },
    megabytes: { type: "string" },
    json: { type: "boolean", default: false },
    markdown: { type: "string" },
  },
});
if (values.case?.includes("raft") === true) {
  await import("./raft.ts");
  process.exit();
}
const rounds = Number(values.rounds);
const scale = Number(values.scale);
const chosen = cases.filter(({ name, store }) => {
  if (values.case !== undefined) return values.case.includes(name);
  return store !== "s3" || !values["without-s3"];
});
if (chosen.length === 0) throw new Error(`no such case; there are ${cases.map(({ name }) => name).join(", ")}`);
const limitProgram = `${process.execPath} ${fileURLToPath(new URL("./limit.ts", import.meta.url))} $SRC`;

installTools();
const scratch = mkdtempSync(join(tmpdir(), "skep-bench-"));
process.once("SIGINT", () => process.exit(130));
process.once("SIGTERM", () => process.exit(143));
process.once("exit", () => {
  rmSync(scratch, { recursive: true, force: true });
});

async function runCase(it: Case, bucket: Bucket | null): Promise<CaseReport> {
  const tools = allTools(bucket?.resticRepository).filter(({ name }) => name === "skep" || it.peers.includes(name));
  const source = join(scratch, "source");
  mkdirSync(source);
  process.stderr.write(`bench: ${it.name}: making the data\n`);
  const made = it.make(source, scale);
  setTimes(filesBelow(source));
  const loadBefore = loadavg()[0] ?? NaN;
  const runs = new Map<string, { step: string; tool: string; all: Measured[] }>();
  const storedBytes: Record<string, number> = {};
  for (let round = 0; round < rounds; round++) {
    for (const tool of tools) {
      mkdirSync(folderOf(tool));
      await measure(tool.prepare, await variables(tool, it, bucket, round));
    }
    for (const [number, step] of it.steps.entries()) {
      step.change?.(source);
      for (const tool of tools) {
        const line = tool.actions[step.action];
        if (line === null) continue;
        process.stderr.write(`bench: ${it.name}: ${step.name}: ${tool.name}\n`);
        mkdirSync(join(scratch, "out"));
        const measured = await measure(line, await variables(tool, it, bucket, round));
        rmSync(join(scratch, "out"), { recursive: true });
        if (number === 0 && bucket === null) storedBytes[tool.name] = sizeBelow(join(folderOf(tool), tool.store));
        if (step.isUnmeasured === true) continue;
        const key = `${step.name}/${tool.name}`;
        const run = runs.get(key) ?? { step: step.name, tool: tool.name, all: [] };
        run.all.push(measured);
        runs.set(key, run);
      }
    }
    for (const tool of tools) rmSync(folderOf(tool), { recursive: true });
  }
  const smallest = Math.min(...["restic", "borg"].flatMap((peer) => storedBytes[peer] ?? []));
  const report: CaseReport = {
    name: it.name,
    ...made,
    rounds,
    load: [loadBefore, loadavg()[0] ?? NaN],
    storedBytes,
    storedRatio: Number.isFinite(smallest) ? (storedBytes["skep"] ?? NaN) / smallest : null,
    ...summarise(runs),
  };
  if (it.name === "mixed") report.limit = await findLimit(report, source);
  rmSync(source, { recursive: true });
  if (!values.json) {
    printCase(
      report,
      tools.map(({ name }) => name),
    );
    const { limit } = report;
    if (limit !== undefined) {
      const share = `${(limit.wallShare * 100).toFixed(0)} % of it (CPU: ${(limit.cpuShare * 100).toFixed(0)} %)`;
      process.stdout.write(
        `the limit: ${limit.wallS.toFixed(1)} s (${limit.cpuS.toFixed(1)}); the first backup has ${share}\n`,
      );
    }
  }
  return report;
}

async function findLimit(report: CaseReport, source: string): Promise<Limit> {
  const all: Measured[] = [];
  for (let round = 0; round < rounds; round++) all.push(await measure(limitProgram, { SRC: source }));
  const [wallS, cpuS] = [median(all.map((run) => run.wallS)), median(all.map((run) => run.cpuS))];
  const ours = report.results.find(({ step, tool }) => step === "first backup" && tool === "skep");
  return { wallS, cpuS, wallShare: wallS / (ours?.wallS ?? NaN), cpuShare: cpuS / (ours?.cpuS ?? NaN) };
}

async function variables(tool: Tool, it: Case, bucket: Bucket | null, round: number): Promise<Record<string, string>> {
  const folder = folderOf(tool);
  return {
    ...toolEnvironment(folder),
    DIR: folder,
    SRC: join(scratch, "source"),
    OUT: join(scratch, "out"),
    FILE: it.file ?? "",
    ROUND: String(round),
    ...(bucket === null ? {} : await bucket.variables()),
  };
}

function folderOf(tool: Tool): string {
  return join(scratch, tool.name.replaceAll("|", "-"));
}

function sizeBelow(folder: string): number {
  let bytes = 0;
  for (const path of filesBelow(folder)) bytes += statSync(path).size;
  return bytes;
}

const reports: CaseReport[] = [];
for (const it of chosen) {
  if (it.store === "s3") reports.push(await withBucket((bucket) => runCase(it, bucket)));
  else reports.push(await runCase(it, null));
}
const report = {
  machine: {
    cpus: cpus().length,
    model: cpus()[0]?.model ?? "",
    memoryBytes: totalmem(),
    kernel: release(),
    fileSystem: spawnSync("stat", ["-f", "-c", "%T", scratch], { encoding: "utf8" }).stdout.trim(),
  },
  versions: Object.fromEntries(allTools().map(({ name, version }) => [name, version])),
  cases: reports,
};
const { machine, versions } = report;
const tested = Object.values(versions).join(", ");
const heading = `${machine.cpus} × ${machine.model}, ${machine.fileSystem}; ${tested}`;
if (values.markdown !== undefined) writeFileSync(values.markdown, toMarkdown(heading, reports));
process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : `\n${heading}\n`);
