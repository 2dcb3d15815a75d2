// npm run bench: Skep, and from Debian's packages restic, borg and tar | zstd | age, in turn on the same data and a
// store in a folder. Prints medians and ratios as a table, or with --json as JSON on stdout.
//
//   npm run bench -- --case raft [--megabytes 64] [--rounds 5] [--json]      (raft.ts: nobody to compare with)
//   npm run bench -- [--case mixed|small-files] [--megabytes 1000] [--files 100000] [--rounds 3] [--json]
//
// Wall time tells what a user waits; on a machine that does other things at the same time, look at the CPU time.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { makeMixed, makeSmallFiles, setTimes } from "./data.ts";

const { values } = parseArgs({
  options: {
    case: { type: "string", default: "mixed" },
    megabytes: { type: "string", default: "1000" },
    files: { type: "string", default: "100000" },
    rounds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
  },
});

if (values.case === "raft") {
  await import("./raft.ts");
  process.exit();
}

const skepProcess = fileURLToPath(new URL("./skep-process.ts", import.meta.url));
const node = process.execPath;

/** Shell lines; $DIR is the tool's own folder, $SRC the data, $OUT an empty folder. Null: it has no such step. */
interface Tool {
  name: string;
  version: string;
  prepare: string;
  steps: Record<Step, string | null>;
}
const steps = ["first backup", "read again, nothing new", "unchanged", "restore all"] as const;
type Step = (typeof steps)[number];

// NODE_COMPILE_CACHE: as in Skep's image, where the code is compiled once.
const environment =
  "export NODE_COMPILE_CACHE=$DIR/compiled RESTIC_PASSWORD=bench BORG_PASSPHRASE=bench BORG_BASE_DIR=$DIR/borg-base";
const skep = `${node} ${skepProcess}`;
const restic = "restic -q -r $DIR/repo --cache-dir $DIR/cache";
const tools: Tool[] = [
  {
    name: "skep",
    version: `node ${process.version}`,
    prepare: `${skep} init $DIR`,
    steps: {
      "first backup": `${skep} backup $DIR $SRC`,
      "read again, nothing new": `${skep} backup $DIR $SRC force`,
      unchanged: `${skep} backup $DIR $SRC force`,
      "restore all": `${skep} restore $DIR $OUT`,
    },
  },
  {
    name: "restic",
    version: versionOf("restic", ["version"]),
    prepare: `${restic} init`,
    steps: {
      "first backup": `${restic} backup $SRC`,
      "read again, nothing new": `${restic} backup --force $SRC`,
      unchanged: `${restic} backup $SRC`,
      "restore all": `${restic} restore latest --target $OUT`,
    },
  },
  {
    name: "borg",
    version: versionOf("borg", ["--version"]),
    prepare: "borg init -e repokey-blake2 $DIR/repo",
    steps: {
      "first backup": "borg create -C zstd,3 $DIR/repo::one $SRC",
      "read again, nothing new": "borg create -C zstd,3 --files-cache disabled $DIR/repo::two $SRC",
      unchanged: "borg create -C zstd,3 $DIR/repo::three $SRC",
      "restore all": "cd $OUT && borg extract $DIR/repo::one",
    },
  },
  {
    name: "tar|zstd|age",
    version: versionOf("age", ["--version"]),
    prepare: "mkdir $DIR/repo && age-keygen -o $DIR/key 2>/dev/null && age-keygen -y $DIR/key > $DIR/recipient",
    steps: {
      "first backup": "tar c -C $SRC . | zstd -q -3 -T2 | age -R $DIR/recipient > $DIR/repo/file",
      "read again, nothing new": null,
      unchanged: null,
      "restore all": "age -d -i $DIR/key $DIR/repo/file | zstd -q -d | tar x -C $OUT",
    },
  },
];

function versionOf(command: string, args: string[]): string {
  return execFileSync(command, args, { encoding: "utf8" }).trim().split("\n")[0] ?? "";
}

interface Measured {
  wallS: number;
  cpuS: number;
  peakBytes: number | null;
}

/** bash's own clock: wall, and user and system time of everything it started. */
async function measure(line: string, variables: Record<string, string>): Promise<Measured> {
  const script = `${environment}; TIMEFORMAT='%R %U %S'; time { ${line}; }`;
  const shell = spawn("bash", ["-o", "pipefail", "-ec", script], {
    env: { ...process.env, ...variables },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(shell, "exit");
  const [out, errors] = await Promise.all([text(shell.stdout), text(shell.stderr)]);
  const [code] = (await ended) as [number | null];
  if (code !== 0) throw new Error(`${line} ended with ${code}: ${errors}`);
  const [wallS = 0, userS = 0, systemS = 0] = (errors.trim().split("\n").at(-1) ?? "").split(" ").map(Number);
  const last = out.trim().split("\n").at(-1) ?? "";
  const peakBytes = last.startsWith("{") ? (JSON.parse(last) as { peakBytes: number }).peakBytes : null;
  return { wallS, cpuS: userS + systemS, peakBytes };
}

function* filesBelow(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else yield path;
  }
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? NaN;
}

const scratch = mkdtempSync(join(tmpdir(), "skep-bench-"));
try {
  const source = join(scratch, "source");
  mkdirSync(source);
  const made =
    values.case === "small-files"
      ? makeSmallFiles(source, Number(values.files))
      : makeMixed(source, Number(values.megabytes) * 1e6);
  setTimes(filesBelow(source));
  const results: Record<string, { step: Step; wallS: number; cpuS: number; peakBytes: number | null }[]> = {};
  const storedBytes: Record<string, number> = {};
  const all: Record<string, Measured[]> = {};
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const tool of tools) {
      const folder = join(scratch, `tool${round}`);
      mkdirSync(folder);
      await measure(tool.prepare, { DIR: folder, SRC: source, OUT: "" });
      for (const step of steps) {
        const line = tool.steps[step];
        if (line === null) continue;
        const out = join(scratch, "out");
        mkdirSync(out);
        (all[`${tool.name}/${step}`] ??= []).push(await measure(line, { DIR: folder, SRC: source, OUT: out }));
        rmSync(out, { recursive: true });
        if (step !== "first backup") continue;
        const stored = join(folder, tool.name === "skep" ? "store" : "repo");
        storedBytes[tool.name] = [...filesBelow(stored)].reduce((sum, path) => sum + statSync(path).size, 0);
      }
      rmSync(folder, { recursive: true });
    }
  }
  for (const tool of tools) {
    results[tool.name] = steps.flatMap((step) => {
      const runs = all[`${tool.name}/${step}`];
      if (runs === undefined) return [];
      const peaks = runs.flatMap(({ peakBytes }) => (peakBytes === null ? [] : [peakBytes]));
      return [
        {
          step,
          wallS: median(runs.map(({ wallS }) => wallS)),
          cpuS: median(runs.map(({ cpuS }) => cpuS)),
          peakBytes: peaks.length === 0 ? null : Math.max(...peaks),
        },
      ];
    });
  }
  const of = (tool: string, step: Step): { wallS: number; cpuS: number } | undefined =>
    results[tool]?.find((result) => result.step === step);
  const ratios = steps.flatMap((step) =>
    tools.slice(1).flatMap((tool) => {
      const [ours, theirs] = [of("skep", step), of(tool.name, step)];
      if (ours === undefined || theirs === undefined) return [];
      return [{ step, peer: tool.name, wall: ours.wallS / theirs.wallS, cpu: ours.cpuS / theirs.cpuS }];
    }),
  );
  const report = {
    machine: { cpus: cpus().length, model: cpus()[0]?.model ?? "" },
    versions: Object.fromEntries(tools.map(({ name, version }) => [name, version])),
    cases: [{ name: values.case, ...made, rounds: Number(values.rounds), storedBytes, results, ratios }],
  };
  if (values.json) process.stdout.write(`${JSON.stringify(report)}\n`);
  else printTable(report.cases[0]?.name ?? "", made, results, storedBytes);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

function printTable(
  name: string,
  made: { files: number; bytes: number },
  results: Record<string, { step: Step; wallS: number; cpuS: number; peakBytes: number | null }[]>,
  storedBytes: Record<string, number>,
): void {
  process.stdout.write(
    `${name}: ${made.files} files, ${(made.bytes / 1e6).toFixed(0)} MB; wall s (CPU s), ×: Skep's share\n`,
  );
  const table = new Table({ head: ["", ...tools.map((tool) => tool.name)] });
  for (const step of steps) {
    const ours = results["skep"]?.find((result) => result.step === step);
    const cells = tools.map((tool) => {
      const found = results[tool.name]?.find((result) => result.step === step);
      if (found === undefined || ours === undefined) return "–";
      const share =
        tool.name === "skep"
          ? ""
          : `  ×${(ours.wallS / found.wallS).toFixed(2)} (×${(ours.cpuS / found.cpuS).toFixed(2)})`;
      const peak = found.peakBytes === null ? "" : `  ${(found.peakBytes / 1e6).toFixed(0)} MB`;
      return `${found.wallS.toFixed(1)} (${found.cpuS.toFixed(1)})${share}${peak}`;
    });
    table.push([step, ...cells]);
  }
  table.push(["stored MB", ...tools.map((tool) => ((storedBytes[tool.name] ?? 0) / 1e6).toFixed(1))]);
  process.stdout.write(`${table.toString()}\n`);
}
