// `npm test`: checks, unit tests and end-to-end tests, and at the end one line for a CI: "N passed, N failed".
// A check that fails counts as one failed test. The checks take what time of the processors the tests leave; the end-to-end
// tests come after the unit tests, in two lanes. `npm run e2e -- kills raft`: the end-to-end tests alone, of those files.
import { constants } from "node:os";
import { redisImage } from "./lab/image.ts";
import { Lab } from "./lab/lab.ts";
import { skepImages } from "./lab/skep-image.ts";
import { findTestFiles, planBatches, runLanes } from "./run/lanes.ts";
import { runTool, showAfter, type Outcome } from "./run/tool.ts";

const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    console.log(`${signal}: ending the tests and taking their labs away`);
    process.exitCode = 128 + constants.signals[signal];
    interruption.abort();
  });
}
const { signal } = interruption;

async function checks(): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const [name, command, ...argv] of [
    ["types", "tsc"],
    ["eslint", "eslint", "."],
    ["prettier", "prettier", "--check", "--log-level", "warn", "."],
    ["arrows", "depcruise", "--output-type", "err", "{agent,controller,shared}/**/*.ts"],
  ] as const) {
    if (signal.aborted) break;
    outcomes.push(
      await runTool(name, command, argv, { signal, show: showAfter(`${name.padEnd(8)} | `), isCheck: true }),
    );
  }
  return outcomes;
}

const unit = () => runTool("unit", "mocha", [], { signal, show: showAfter("unit     | ") });

/** Images and root file systems are made once, before the lanes ask for them; without them no lane starts. */
async function endToEnd(names: readonly string[]): Promise<Outcome[]> {
  if (signal.aborted) return [];
  const startedAt = performance.now();
  try {
    await Lab.prepare([redisImage(), ...(await skepImages())]);
  } catch (error) {
    const failure = `what labs are made of: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
    const seconds = (performance.now() - startedAt) / 1000;
    return [{ name: "prepare", passed: 0, failed: 1, failures: [failure], seconds }];
  }
  return await runLanes(planBatches(await findTestFiles(names)), signal);
}

function report(outcomes: readonly Outcome[], seconds: number): void {
  const width = Math.max(...outcomes.map(({ name }) => name.length));
  console.log("");
  for (const { name, passed, failed, seconds } of outcomes) {
    const result = failed === 0 ? `${passed} passed` : `${passed} passed, ${failed} FAILED`;
    console.log(`${name.padEnd(width)} ${seconds.toFixed(0).padStart(5)} s  ${result}`);
  }
  console.log(`${"in all".padEnd(width)} ${seconds.toFixed(0).padStart(5)} s`);
  const failures = outcomes.flatMap((outcome) => outcome.failures);
  if (failures.length > 0) console.log(`\nFailed:\n${failures.map((failure) => `  ${failure}`).join("\n")}`);
}

const startedAt = performance.now();
const [only, ...names] = process.argv.slice(2);
const checking = only === "e2e" ? [] : checks();
const first = only === "e2e" ? [] : [await unit()];
const outcomes = [...first, ...(await endToEnd(names)), ...(await checking)];
if (signal.aborted) await Lab.sweep();
report(outcomes, (performance.now() - startedAt) / 1000);

const sum = (of: (outcome: Outcome) => number) => outcomes.reduce((total, outcome) => total + of(outcome), 0);
const [passed, failed] = [sum((outcome) => outcome.passed), sum((outcome) => outcome.failed)];
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode ??= failed === 0 && passed > 0 ? 0 : 1;
