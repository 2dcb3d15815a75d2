// The end-to-end tests side by side. Most of their time is waiting, and labs don't disturb each other; more than two at
// once would cost a small machine's swarms their heartbeats.
//
// A batch is what one mocha process runs. Files that share the cluster of shared-cluster.ts make batches together, so that
// the cluster is made once a batch; each other file is a batch of its own. A lane takes the next batch when it is done with one.
import { glob, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { projectRoot, runTool, showAfter, type Outcome } from "./tool.ts";

const lanes = 2;

/** Of those that share no cluster, by minutes; where another has become longer, nothing but time is lost. */
const longest = ["bad-input", "raft", "cli-standalone", "agent-container", "agent-jobs"];

export interface TestFile {
  /** Relative to the project's root. */
  path: string;
  sharesCluster: boolean;
}

export interface Batch {
  name: string;
  paths: string[];
}

/** The batches in the order in which lanes take them: those that take longest first, so that no lane ends long before the other. */
export function planBatches(files: readonly TestFile[]): Batch[] {
  const rank = ({ path }: TestFile): number => {
    const at = longest.indexOf(nameOf(path));
    return at === -1 ? longest.length : at;
  };
  const sorted = files.toSorted((a, b) => rank(a) - rank(b) || (a.path < b.path ? -1 : 1));
  const sharing = sorted.filter((file) => file.sharesCluster).map((file) => file.path);
  const alone = sorted.filter((file) => !file.sharesCluster);
  return [
    ...(sharing.length === 0 ? [] : [{ name: "shared-cluster", paths: sharing }]),
    ...alone.map(({ path }) => ({ name: nameOf(path), paths: [path] })),
  ];
}

function nameOf(path: string): string {
  return basename(path, ".test.ts");
}

/** Of the files in test/e2e those called `names` ("kills" for kills.test.ts); without names all. */
export async function findTestFiles(names: readonly string[] = []): Promise<TestFile[]> {
  const files: TestFile[] = [];
  for await (const path of glob("test/e2e/**/*.test.ts", { cwd: projectRoot })) {
    if (names.length > 0 && !names.includes(nameOf(path))) continue;
    const text = await readFile(join(projectRoot, path), "utf8");
    files.push({ path, sharesCluster: /from "[./]+\/shared-cluster\.ts"/.test(text) });
  }
  return files;
}

/** Runs all batches, two at a time; the outcomes in the order in which they ended. */
export async function runLanes(batches: readonly Batch[], signal: AbortSignal): Promise<Outcome[]> {
  const waiting = [...batches];
  const width = Math.max(...batches.map(({ name }) => name.length));
  const outcomes: Outcome[] = [];
  const lane = async () => {
    for (let next = waiting.shift(); next !== undefined && !signal.aborted; next = waiting.shift()) {
      const argv = ["--config", ".mocharc.e2e.json", ...next.paths];
      outcomes.push(
        await runTool(next.name, "mocha", argv, { signal, show: showAfter(`${next.name.padEnd(width)} | `) }),
      );
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return outcomes;
}
