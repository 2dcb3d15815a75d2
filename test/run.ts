// `npm test`: checks, unit tests and end-to-end tests, and at the end one line for a CI: "N passed, N failed".
// A check that fails counts as one failed test. The unit tests run beside the checks: they don't disturb each other.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

interface Outcome {
  name: string;
  code: number;
  passed: number;
  failed: number;
  seconds: number;
}

const root = join(import.meta.dirname, "..");
const bin = join(root, "node_modules", ".bin");

/** Runs one of the project's tools; what it prints goes through, in whole lines, with its name before it where several run at once. */
async function run(name: string, command: string, argv: string[], prefix: boolean): Promise<Outcome> {
  const startedAt = performance.now();
  const child = spawn(join(bin, command), argv, {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PATH: `${bin}:${process.env["PATH"] ?? ""}` },
  });
  const counts = { passed: 0, failed: 0 };
  for (const stream of [child.stdout, child.stderr]) {
    let rest = "";
    stream.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const count = /^(\d+) passed, (\d+) failed$/.exec(line);
        if (count === null) process.stdout.write(prefix ? `${name} | ${line}\n` : `${line}\n`);
        else Object.assign(counts, { passed: Number(count[1]), failed: Number(count[2]) });
      }
    });
  }
  const [code] = (await once(child, "close")) as [number | null];
  return { name, code: code ?? 1, ...counts, seconds: (performance.now() - startedAt) / 1000 };
}

/** What ended badly without a failed test to show for it (a check, a crash of the runner) counts as one. */
function counted(outcome: Outcome, isCheck: boolean): { passed: number; failed: number } {
  if (isCheck) return outcome.code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  const crashed = outcome.code !== 0 && outcome.failed === 0;
  return { passed: outcome.passed, failed: outcome.failed + (crashed ? 1 : 0) };
}

const checks = await Promise.all([
  (async () => [
    await run("types", "tsc", [], true),
    await run("eslint", "eslint", ["."], true),
    await run("prettier", "prettier", ["--check", "--log-level", "warn", "."], true),
    await run("arrows", "depcruise", ["--output-type", "err", "{agent,controller,shared}/**/*.ts"], true),
  ])(),
  run("unit", "mocha", [], true),
]);
const endToEnd = await run("e2e", "mocha", ["--config", ".mocharc.e2e.json"], false);

const outcomes = [...checks[0], checks[1], endToEnd];
const totals = { passed: 0, failed: 0 };
for (const outcome of outcomes) {
  const { passed, failed } = counted(outcome, checks[0].includes(outcome));
  totals.passed += passed;
  totals.failed += failed;
  console.log(
    `${outcome.name.padEnd(10)} ${outcome.seconds.toFixed(0).padStart(5)} s  ${passed} passed, ${failed} failed`,
  );
}
console.log(`\n${totals.passed} passed, ${totals.failed} failed`);
process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;
